"""Write docs/benchmarks.md from the measurements."""

from collections.abc import Callable
from typing import Any

from benchmarks import summary
from benchmarks.cases import CACHED, CASES, NEWER, OWN, REAL, TRL, Case
from benchmarks.ledger import Ledger
from benchmarks.needed import Weights
from benchmarks.shapes import SMALL, VOCABULARY
from benchmarks.summary import EPOCH, Done, Spread, Turns, own, spread

Part = dict[str, Any]

LETTERS = {
    "a": "Preference trials on titles",
    "b": "Preference trials on hh-rlhf",
    "c": "Supervised trials on GSM8K",
    "d": "A sweep of five preference trials",
    "e": "Random weights: titles",
    "f": "Random weights: dialogues",
    "g": "Random weights: word problems",
    "h": "Random weights: scoring pairs with a reference model",
}
ABOUT = {
    "a": "Real rows: ten pairs per idea, from its five titles. Rank 32 on seven projections, as "
    "published.",
    "b": "Real rows of harmless-base, cut at the first answer. Rank 8 on q, v, gate and down, as "
    "in the published trial 4.",
    "c": "Real rows. Rank 4 on q, v, gate and down with dropout 0.1, as in the published trial 1, "
    "and the loss on completions. Dropout draws other masks in each contestant, so losses agree "
    "less closely after the first step, before which the adapter does nothing.",
    "d": "Five trials on the same texts, with different learning rates or betas. TRL: a script "
    "that trains one adapter, five times, with TRL's defaults and with cached references. "
    f"{OWN}: one `snakemake` that tokenizes the same texts, computes one reference and trains five "
    "adapters. CPU seconds are summed over all processes, including imports and Snakemake, without "
    "caches from earlier runs.",
    "e": "Prompts have about 79 tokens; the first 38 and the last 35 are the same in all rows. "
    "Completions have 7 to 20.",
    "f": "Made-up rows with hh-rlhf's lengths: prompts of about 43 tokens, completions of about "
    "150. The two completions of a pair share about the first 110.",
    "g": "Made-up rows with grade-school-math's lengths: median 161 tokens, at most 512. No "
    "dropout.",
    "h": "TRL's pass is that of `precompute_ref_log_probs`. Pairs may be scored in any order, so "
    "the fewest tokens are those of one prefix tree over all pairs.",
}
CACHE = (
    "TRL caches the log-probs of `precompute_ref_log_probs` in the cache of datasets, under a hash "
    "of the dataset's fingerprint and of all weights, those of the new adapter included. Both "
    f"versions, {TRL.removeprefix('TRL ')} and {NEWER.removeprefix('TRL ')}, were tried with two "
    "trials in processes of their own:",
    "- With the default `max_length` of 1024, trials that differ in learning rate or beta compute "
    "them again. The function that leaves out rows that are too long refers to all settings of the "
    "trial, so the fingerprint depends on learning rate, beta and even the output folder.",
    "- With `max_length=None` they share them if both have the same seed and LoRA settings, which "
    f"is what **{CACHED}** is here. {TRL} does not seed before it draws the adapter's weights, so "
    "the script has to call `set_seed` itself; without that, nothing is ever found again.",
    "- Another seed or rank computes them again in either version.",
)
PACKS = (
    "A step of TRL's packs holds different rows than the others' batches, so its seconds are "
    "scaled to the same number of tokens, and its loss is not compared. Without flash attention, "
    "TRL warns that packed rows may attend to each other; with sdpa, transformers separates them "
    "wherever positions restart at 0, as the losses of its padding-free batches show."
)
METHOD = (
    "Each measurement runs in its own process with one thread. The contestants of a case take "
    "turns. Ratios are computed within a turn and given as median (minimum to maximum); a ratio "
    "without a range was measured once. Where a run was resumed, a turn may take hours, and CPU "
    "seconds depend a little on what else the machine does.",
    "**CPU s a step**: user plus system time of an optimizer step in the training loop, averaged "
    "over all steps but the first. **Reference**: the pass over a step's rows before training, if "
    "there is one; by default TRL runs the reference inside every step, in every epoch and trial. "
    f"**Start-up**: the rest of the process. {OWN}'s reference pass is a separate job; its "
    "start-up is included here.",
    f"**÷ {OWN}**: seconds divided by {OWN}'s, once including the reference pass, as for a single "
    "trial of one epoch, and once without it, as for the later trials of a sweep.",
    "**Tokens ÷ fewest**: positions that went through the policy, including padding, divided by "
    "the fewest possible: the distinct prefixes of each optimizer step's sequences, without last "
    "tokens, after which nothing is predicted. In brackets: divided by the fewest if only the two "
    "completions of a pair share tokens, and supervised rows share none.",
    "**Peak** is the peak resident memory of the process, **growth** the part of it that came "
    "after the model was loaded; with two processes, the larger value.",
)
OF_PEAK = (
    "**Of peak**: the FLOPs that the fewest tokens need, per CPU second, divided by those of a "
    "2048 x 2048 float32 matrix product in the same process. Counted are 2 per weight and token "
    "forward, the same backward through frozen weights and twice that for adapters, attention, the "
    "vocabulary at predicted positions only, and one forward pass of the reference."
)


def page(command: str, ledger: Ledger, done: list[Done], absent: list[str], gpu: list[str]) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    ledger
        Tells when and under which conditions the measurements were made.
    done
        Cases with the measurements of their contestants.
    absent
        What was not measured, and why.
    gpu
        The GPU paragraphs.
    """
    parts = [_head(command, ledger.under), *_bounds(done), "## What is measured", _method(done)]
    parts += sections(done, ledger)
    parts += ["## Where TRL's cache serves a sweep", "\n".join([CACHE[0], "", *CACHE[1:]])]
    if absent:
        parts += ["## Not measured", "\n".join(f"- {line}." for line in absent)]
    return "\n\n".join([*parts, "## On a GPU", *gpu]) + "\n"


def sections(done: list[Done], ledger: Ledger) -> list[str]:
    """Return the paragraphs of some cases."""
    parts = []
    for letter, title in LETTERS.items():
        cases = [(case, turns) for case, turns in done if case.letter == letter]
        if cases and not cases[0][0].gpu:
            parts += [f"## {letter}. {title}", ABOUT[letter]]
        parts += [_section(case, turns, done, ledger) for case, turns in cases]
    return parts


def _bounds(done: list[Done]) -> list[str]:
    """Return the paragraphs on what is promised of the real model."""
    found = {(bound.case, bound.contestant): bound for bound in summary.bounds(done)}
    rows = []
    for case in CASES if found else []:
        for name, wanted in case.bounds:
            row = {"": case.name, "beside": name, "at least": f"{wanted:g} times"}
            if bound := found.get((case.name, name)):
                row |= {
                    "measured": f"**{bound.found:.2f}**",
                    "peak MiB": f"{bound.peak_mb:,.0f}",
                    f"{OWN}'s": f"{bound.own_peak_mb:,.0f}",
                    "bound": f"**missed** ({' and '.join(bound.missed)})"
                    if bound.missed
                    else "met",
                }
            else:
                row |= {"measured": "–", "peak MiB": "–", f"{OWN}'s": "–", "bound": "not measured"}
            rows.append(row)
    if not rows:
        return []
    about = (
        f"{REAL}, real rows, bfloat16. A bound is met if training here takes so many times fewer "
        "CPU seconds, at no higher peak memory. Counted are a step and its rows' share of the "
        "reference pass, which all epochs of the published trial use (three on titles, two on "
        f"hh-rlhf); of the sweep, all of it, if each trial took {EPOCH} steps (see d)."
    )
    return ["## Bounds on the real model", about, _table(rows)]


def gpu_head(machine: Part) -> str:
    """Return the paragraph on the machine of the GPU measurements."""
    versions = ", ".join(f"{name} {of}" for name, of in machine["versions"].items() if of)
    return (
        f"{machine['device']}, driver {machine['driver']}, CUDA {machine['cuda']}; {versions}. "
        "Seconds are wall time. In 16 bit the contestants' losses agree only up to rounding."
    )


def _head(command: str, under: Part) -> str:
    machine = under["machine"]
    versions = ", ".join(f"{name} {of}" for name, of in under["versions"].items() if of)
    return "\n\n".join(
        [
            "# Benchmarks",
            "Time and memory of training with TRL's own trainers and with this project's, on the "
            "same rows, model, seed and settings.",
            f"Made by `{command}` on {machine['device']} ({machine['cores']} cores, "
            f"{machine['system']}), Python {under['python']}, {versions}. {NEWER} runs with the "
            "same other packages.",
            "[Figures of 2026-11-24](benchmarks-2026-11-24.md) are of more models with random "
            "weights, before training was made faster.",
        ]
    )


def _method(done: list[Done]) -> str:
    """Return the list of what is measured, and of the models."""
    shapes = dict.fromkeys(case.shape for case, _ in done if case.shape in SMALL and not case.once)
    models = "; ".join(map(_shape, shapes))
    random = (
        f"The other models have random weights in float32, a vocabulary of {VOCABULARY} and LoRA "
        f"of rank 32 on all projections. {models}. (Of Qwen2.5-14B's and of TinyLlama's, 6 % are "
        "in the head.)"
    )
    real = f"{REAL} is the pilot's base model (`make base`), in bfloat16."
    more = [random, OF_PEAK] if models else []
    return "\n".join(f"- {line}" for line in (*METHOD, real, *more))


def _shape(name: str) -> str:
    sizes, weights = SMALL[name], weights_of(name, 32)
    return (
        f"`{name}`: {sizes['hidden_size']} wide, {sizes['num_hidden_layers']} layers, "
        f"{weights.head / (weights.head + weights.frozen):.0%} of the weights that a token is "
        "multiplied with in the head"
    )


def weights_of(shape: str, rank: int) -> Weights:
    """Return the weights of a small model, computed from its sizes."""
    from types import SimpleNamespace

    from benchmarks.shapes import weights_of

    return weights_of(SimpleNamespace(**SMALL[shape], vocab_size=VOCABULARY), rank)


def _section(case: Case, turns: Turns, done: list[Done], ledger: Ledger) -> str:
    kinds: dict[str, Callable[[Case, Turns], str]] = {
        "preferences": _training, "demonstrations": _training, "score": _scoring
    }  # fmt: skip
    when = f"Measured {' to '.join(ledger.dates(case))}"
    if ledger.is_older(case):
        when += ", in part with older code or packages"
    body = _sweep(case, turns, done) if case.task == "sweep" else kinds[case.task](case, turns)
    return f"### {case.name[0].upper()}{case.name[1:]}\n\n{when}.\n\n{body}"


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
        f"tokens; the fewest possible is {tree.tokens / a_step:,.0f}"
        + (f" ({pairs.tokens / a_step:,.0f} if only pairs share)." if preference else "."),
        _table(rows),
        _agreement(case, turns, "losses"),
    ]
    if not all(map(summary.compared, case.contestants)):
        lines.append(PACKS)
    layout = turns[own(case)][0].get("layout")
    if layout:
        why = f" ({layout['reason']})" if layout["reason"] else ""
        lines.append(f"{OWN}'s layout: asked for {layout['asked']}, ran {layout['ran']}{why}.")
    return "\n\n".join(lines)


def _clock(case: Case) -> str:
    return "wall s" if case.gpu else "CPU s"


def _tokens(name: str, metrics: Part, tree: int, pairs: int) -> str:
    if not summary.compared(name):
        own_tree = summary.fewest(metrics["needed"]).tokens
        return f"{metrics['policy_tokens'] / own_tree:.2f}"
    passed = metrics["policy_tokens"]
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
        name: [metrics["reference_seconds"]["cpu"] for metrics in turns[name]] for name in turns
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
            f"{needed['rows']:,} pairs with {needed['tokens']:,} tokens; the fewest possible "
            f"is {tree:,} ({pairs:,} if only the two of a pair share).",
            _table(rows),
            _agreement(case, turns, "log-probs"),
        ]
    )


def _sweep(case: Case, turns: Turns, done: list[Done]) -> str:
    rows = []
    taken = {name: [f["process_seconds"]["cpu"] for f in turns[name]] for name in turns}
    epochs = {name: summary.epoch_seconds(case, name, turns, done) for name in turns}
    for name in case.contestants:
        row = {
            "": name,
            f"CPU s, {case.steps} steps": _value(spread(taken[name])),
            f"÷ {OWN}": _ratio(summary.ratios(taken[name], taken[own(case)]), name),
        }
        if all(epochs.values()):
            row[f"CPU s, {EPOCH} steps"] = f"{epochs[name][0]:,.0f}"
            row[f"÷ {OWN}'s"] = _ratio(summary.ratios(epochs[name], epochs[own(case)]), name)
        row["peak MiB"] = f"{spread([f['peak_mb'] for f in turns[name]]).median:,.0f}"
        row["last losses"] = ", ".join(f"{loss:.4f}" for loss in turns[name][0]["last_losses"])
        rows.append(row)
    jobs = {
        name: spread([f["jobs"][name] or 0 for f in turns[own(case)]]).median
        for name in turns[own(case)][0]["jobs"]
    }
    parts = [_table(rows)]
    if all(epochs.values()):
        parts.append(
            f"Only {case.steps} steps a trial were run. The seconds of {EPOCH}, an epoch, are "
            "computed: what was measured, and the further steps and their rows' reference pass as "
            "measured in a."
        )
    if CACHED in turns:
        batches = ", ".join(map(str, turns[CACHED][0]["reference_batches"]))
        parts.append(
            f"Reference batches that TRL computed for each trial with its cache: {batches}."
        )
    parts += [
        f"{OWN}'s jobs in CPU s, as measured by Snakemake: "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in jobs.items())
        + ".",
        "All draw the adapter's initial weights from the seed, but get different numbers, so "
        "losses agree only roughly.",
    ]
    return "\n\n".join(parts)


def _agreement(case: Case, turns: Turns, what: str) -> str:
    apart = summary.loss_difference(case, turns)
    verdict = "the same" if summary.same_losses(case, turns) else "**not the same**"
    if case.precision != "float32":
        verdict += f" to the rounding of {case.precision}"
    others = summary.others_difference(case, turns)
    return (
        f"Same {what}: {verdict}, at most {apart:.1e} apart over max(1, |value|); the others "
        f"{others:.1e} from each other."
    )


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
