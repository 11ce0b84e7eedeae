"""docs/benchmarks.md, from the measurements."""

from collections.abc import Callable
from typing import Any

from benchmarks import summary
from benchmarks.cases import Case
from benchmarks.needed import Weights
from benchmarks.shapes import SMALL, VOCABULARY
from benchmarks.summary import OWN, TOLERANCE, Spread, Turns, own, spread

Part = dict[str, Any]
Done = tuple[Case, Turns]

LETTERS = {
    "a": "Preference trials on titles",
    "b": "Preference trials on dialogues",
    "c": "Supervised trials",
    "d": "A sweep of five preference trials",
    "e": "Scoring pairs with a reference model",
}
ABOUT = {
    "a": "A prompt of about 79 tokens, of which all share the first 38 and the last 35; "
    "completions of 7 to 20. Ten pairs an idea, from its five titles.",
    "b": "Made-up rows of hh-rlhf's lengths: a prompt of about 43 tokens, completions of about "
    "150, of which a pair shares about the first 110.",
    "c": "Made-up rows of grade-school-math's lengths, median 161 tokens, at most 512; no dropout.",
    "d": "Five trials on the same pairs that differ in learning rate or beta. TRL: `trl dpo` five "
    "times on the texts, which starts `accelerate launch`. prefmake: one `snakemake` for the five "
    "adapters, from the same texts to tokens, one reference, five trainings. CPU seconds are those "
    "of all processes, imports and Snakemake included; no caches from before.",
    "e": "TRL's pass is the one of `precompute_ref_log_probs`. Order is free, so the fewest tokens "
    "are those of one prefix tree of all pairs.",
}
PACKS = (
    "TRL's packs hold other rows a step than the others' batches, so its seconds are scaled to as "
    "many tokens a step, and its loss is not compared. Without flash attention TRL warns that "
    "packed rows may attend to each other; with sdpa, transformers keeps them apart where "
    "positions begin anew, as the losses of its padding-free batches show."
)
METHOD = (
    "Each measurement is a process of its own with one thread. The contestants of a case run in "
    "turn; ratios are taken within a turn, and given as median (least to most); one that stands "
    "alone was measured once.",
    "**CPU s a step**: user and system time of an optimizer step in the training loop, mean of "
    "the steps behind the first. **Reference**: the pass over a step's rows before training, where "
    "there is one; TRL's default runs the reference inside every step, of every epoch and trial. "
    f"**Start-up**: the rest of the process; {OWN}'s reference pass has one of its own, as it "
    "has a job of its own, which counts here too.",
    f"**÷ {OWN}**: seconds over {OWN}'s, once with the reference pass counted, as for one trial of "
    "one epoch, and once without, as for the later trials of a sweep.",
    "**Tokens ÷ fewest**: positions that went through the policy, padding included, over the "
    "distinct prefixes of each optimizer step's sequences, last tokens left out, behind which "
    "nothing is predicted: the fewest possible. In brackets over the fewest where only the two "
    "completions of a pair share, and supervised rows nothing.",
    "**Of peak**: floating-point operations that the fewest tokens need (2 a weight and token "
    "forward; as many back through frozen weights, twice as many for adapters; attention; the "
    "vocabulary at predicted positions alone; one forward pass of the reference) a CPU second, "
    "over those of a 2048 x 2048 float32 matrix product in the same process.",
    "**Peak** is the process's resident memory, **growth** what of it came after the model was "
    "loaded; of two processes the larger.",
)


def page(command: str, dates: list[str], under: Part, done: list[Done], gpu: list[str]) -> str:
    """Returns the page.

    Parameters
    ----------
    done
        Cases with the figures of their contestants.
    gpu
        The paragraphs on a GPU.
    """
    head = [_head(command, dates, under), _method(done)]
    return "\n\n".join([*head, *sections(done), "## On a GPU", *gpu]) + "\n"


def sections(done: list[Done]) -> list[str]:
    """Returns the paragraphs of some cases."""
    parts = []
    for letter, title in LETTERS.items():
        cases = [(case, turns) for case, turns in done if case.letter == letter]
        if cases and not cases[0][0].gpu:
            parts += [f"## {letter}. {title}", ABOUT[letter]]
        parts += [_section(case, turns) for case, turns in cases]
    return parts


def gpu_head(machine: Part) -> str:
    """Returns what the GPU's figures were taken on."""
    versions = ", ".join(f"{name} {of}" for name, of in machine["versions"].items() if of)
    return (
        f"{machine['device']}, driver {machine['driver']}, CUDA {machine['cuda']}; {versions}. "
        "Seconds are the clock's. In 16 bit the contestants' losses agree to rounding only."
    )


def _head(command: str, dates: list[str], under: Part) -> str:
    machine = under["machine"]
    versions = ", ".join(f"{name} {of}" for name, of in under["versions"].items() if of)
    return "\n\n".join(
        [
            "# Benchmarks",
            f"Made by `{command}`, {' to '.join(dates)}, on {machine['device']} "
            f"({machine['cores']} cores, {machine['system']}), Python {under['python']}, {versions}"
            f". The titles are {under['titles']}.",
            "What a trial takes through TRL's own trainers, and through this project's on the same "
            "rows, model, seed and settings.",
        ]
    )


def _method(done: list[Done]) -> str:
    shapes = dict.fromkeys(case.shape for case, _ in done if case.shape in SMALL and not case.once)
    models = "; ".join(map(_shape, shapes))
    random = (
        f"Models have random weights in float32, a vocabulary of {VOCABULARY} and LoRA of rank 32 "
        f"on all projections. {models}. (Of Qwen2.5-14B's and of TinyLlama's, 6 % are in the head.)"
    )
    return "\n".join(f"- {line}" for line in (*METHOD, random))


def _shape(name: str) -> str:
    sizes, weights = SMALL[name], weights_of(name, 32)
    return (
        f"`{name}`: {sizes['hidden_size']} wide, {sizes['num_hidden_layers']} layers, "
        f"{weights.head / (weights.head + weights.frozen):.0%} of the weights that a token is "
        "multiplied with in the head"
    )


def weights_of(shape: str, rank: int) -> Weights:
    """Returns a small model's weights, from its sizes alone."""
    from types import SimpleNamespace

    from benchmarks.shapes import weights_of

    return weights_of(SimpleNamespace(**SMALL[shape], vocab_size=VOCABULARY), rank)


def _section(case: Case, turns: Turns) -> str:
    kinds: dict[str, Callable[[Case, Turns], str]] = {
        "preferences": _training, "demonstrations": _training, "score": _scoring, "sweep": _sweep
    }  # fmt: skip
    return f"### {case.name[0].upper()}{case.name[1:]}\n\n{kinds[case.task](case, turns)}"


def _training(case: Case, turns: Turns) -> str:
    needed = summary.needed_of(case, turns)
    tree, pairs = summary.fewest(needed), summary.fewest(needed, "tree_of_pairs")
    preference = case.task == "preferences"
    flops = None
    if case.shape in SMALL:
        flops = summary.step_flops(weights_of(case.shape, case.rank), needed, preference)
    reference = {name: summary.reference_seconds(case, name, turns) for name in case.contestants}
    steps = {name: summary.step_seconds(case, name, turns) for name in case.contestants}
    total = {name: summary.whole(steps[name], reference[name]) for name in case.contestants}
    rows = []
    for name in case.contestants:
        row = {"": name, f"{_clock(case)} a step": _value(spread(steps[name]))}
        if preference:
            row["reference"] = _value(spread(reference[name])) if any(reference[name]) else "–"
        row["start-up"] = _value(spread(summary.startup_seconds(case, name, turns)))
        row[f"÷ {OWN}"] = _ratio(summary.ratios(total[name], total[own(case)]), name)
        if preference:
            row["reference not counted"] = _ratio(
                summary.ratios(steps[name], steps[own(case)]), name
            )
        row["tokens ÷ fewest"] = _tokens(name, turns[name][0], tree.tokens, pairs.tokens)
        if flops:
            row["of peak"] = f"{summary.peak_share(flops, total[name], turns[name]).median:.0%}"
        row |= _memory(turns[name])
        rows.append(row)
    a_step = len(needed)
    lines = [
        f"A step's {needed[0]['rows']} rows have {sum(s['tokens'] for s in needed) / a_step:,.0f} "
        f"tokens, at the fewest {tree.tokens / a_step:,.0f}"
        + (f" ({pairs.tokens / a_step:,.0f} where only pairs share)." if preference else "."),
        _table(rows),
        _agreement(case, turns, "losses"),
    ]
    if not all(map(summary.compared, case.contestants)):
        lines.append(PACKS)
    layout = turns[own(case)][0].get("layout")
    if layout:
        why = f" ({layout['reason']})" if layout["reason"] else ""
        lines.append(f"{OWN}'s layout: {layout['asked']} was asked, {layout['ran']} ran{why}.")
    return "\n\n".join(lines)


def _clock(case: Case) -> str:
    return "wall s" if case.gpu else "CPU s"


def _tokens(name: str, figures: Part, tree: int, pairs: int) -> str:
    if not summary.compared(name):
        own_tree = summary.fewest(figures["needed"]).tokens
        return f"{figures['policy_tokens'] / own_tree:.2f}"
    passed = figures["policy_tokens"]
    text = f"{passed / tree:.2f}"
    return text if pairs == tree else f"{text} [{passed / pairs:.2f}]"


def _memory(turns: list[Part]) -> Part:
    if turns[0]["gpu_peak_mb"] is not None:
        return {"GPU MiB": f"{spread([f['gpu_peak_mb'] for f in turns]).median:,.0f}"}
    return {
        "peak MiB": f"{spread([f['peak_mb'] for f in turns]).median:,.0f}",
        "growth MiB": f"{spread([f['growth_mb'] for f in turns]).median:,.0f}",
    }


def _scoring(case: Case, turns: Turns) -> str:
    (needed,) = turns[own(case)][0]["needed"]
    tree, pairs = needed["tree"][0], needed["tree_of_pairs"][0]
    rows = []
    flops = summary.forward_flops(
        weights_of(case.shape, case.rank), summary.fewest([needed]), needed["predicted"], False
    )
    taken = {
        name: [figures["reference_seconds"]["cpu"] for figures in turns[name]] for name in turns
    }
    for name in case.contestants:
        passed = turns[name][0]["reference_tokens"]
        row = {"": name, "tokens": f"{passed:,}",
               "tokens ÷ fewest": f"{passed / tree:.2f} [{passed / pairs:.2f}]"}  # fmt: skip
        if not case.once:
            row["CPU s"] = _value(spread(taken[name]))
            row[f"÷ {OWN}"] = _ratio(summary.ratios(taken[name], taken[own(case)]), name)
            row["of peak"] = f"{summary.peak_share(flops, taken[name], turns[name]).median:.0%}"
            row |= _memory(turns[name])
        rows.append(row)
    return "\n\n".join(
        [
            f"{needed['rows']:,} pairs with {needed['tokens']:,} tokens, at the fewest {tree:,} "
            f"({pairs:,} where only the two of a pair share).",
            _table(rows),
            _agreement(case, turns, "log-probs"),
        ]
    )


def _sweep(case: Case, turns: Turns) -> str:
    rows = []
    taken = {name: [f["process_seconds"]["cpu"] for f in turns[name]] for name in turns}
    loops = {name: [f["training_wall"] for f in turns[name]] for name in turns}
    for name in case.contestants:
        losses = ", ".join(f"{loss:.4f}" for loss in turns[name][0]["last_losses"])
        rows.append(
            {
                "": name,
                "CPU s": _value(spread(taken[name])),
                f"÷ {OWN}": _ratio(summary.ratios(taken[name], taken[own(case)]), name),
                "training loops, wall s": _value(spread(loops[name])),
                f"÷ {OWN}'s": _ratio(summary.ratios(loops[name], loops[own(case)]), name),
                "peak MiB": f"{spread([f['peak_mb'] for f in turns[name]]).median:,.0f}",
                "last losses": losses,
            }
        )
    runs = ", ".join(f"{seconds:.0f}" for seconds in turns[case.contestants[0]][0]["runs"])
    jobs = {
        name: spread([f["jobs"][name] or 0 for f in turns[own(case)]]).median
        for name in turns[own(case)][0]["jobs"]
    }
    own_jobs = ", ".join(f"{name} {seconds:.0f}" for name, seconds in jobs.items())
    return "\n\n".join(
        [
            f"{case.rows} pairs, {turns[own(case)][0]['steps'][0]} steps a trial. TRL's runs took "
            f"{runs} CPU s each.",
            _table(rows),
            f"{OWN}'s jobs in CPU s, as Snakemake saw them: {own_jobs}.",
            "Both draw the adapter's first weights from the seed, but not as the same numbers, so "
            "losses agree roughly; that equal weights give equal losses is checked in a and b.",
        ]
    )


def _agreement(case: Case, turns: Turns, what: str) -> str:
    apart = summary.loss_difference(case, turns)
    verdict = "the same" if apart <= TOLERANCE else "**not the same**"
    verdict = "to rounding" if case.gpu else verdict
    return f"Same {what}: {verdict}, at most {apart:.1e} apart over max(1, |value|)."


def _value(found: Spread) -> str:
    digits = 2 if found.median < 10 else 1
    return f"{found.median:.{digits}f}"


def _ratio(found: Spread, name: str) -> str:
    if name.startswith(OWN):
        return "1"
    most = f" ({found.low:.2f} to {found.high:.2f})" if found.count > 1 else ""
    return f"**{found.median:.2f}**{most}"


def _table(rows: list[Part]) -> str:
    names = list(rows[0])
    lines = [
        names,
        ["---"] + ["--:"] * (len(names) - 1),
        *([row[n] for n in names] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
