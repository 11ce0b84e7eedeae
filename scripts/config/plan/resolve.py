"""From a checked configuration to its plan."""

from dataclasses import replace

from scripts.common.files import shortest
from scripts.common.methods import METHODS
from scripts.common.templates import JUDGE, template_name, template_path
from scripts.config.data import ConversationData, kinds_of
from scripts.config.evaluation import Generate
from scripts.config.plan import paths
from scripts.config.plan.data import Dataset, Mixture, Model, Overlap, Rows, Tokens
from scripts.config.plan.evaluation import (
    Base,
    Evaluation,
    HeldOut,
    Judge,
    Lookup,
    PromptSet,
    Run,
)
from scripts.config.plan.training import Reference, Training
from scripts.config.plan.whole import Plan
from scripts.config.schema import AnyPhase, Config, Experiment
from scripts.config.trials import PreferenceTrial, SftTrial


def make_plan(config: Config) -> Plan:
    """Return the plan of a checked configuration."""
    plan = Plan(
        models={
            name: Model(name, **model.model_dump(mode="json"))
            for name, model in config.models.items()
        },
        datasets={
            name: Dataset(
                name,
                dataset.source.model_dump(mode="json"),
                dict(kinds_of(dataset)),
                dataset.model_dump(mode="json", exclude={"source"}),
            )
            for name, dataset in config.datasets.items()
        },
        mixtures={
            name: Mixture(name, mixture.model_dump(mode="json"))
            for name, mixture in config.mixtures.items()
        },
        claims=shortest(config.claims) if config.claims else None,
        mark=config.mark,
        allow_failed=config.allow_failed,
        accelerator=config.accelerator,
        container=config.container,
        allow_env_drift=config.allow_env_drift,
    )
    for name, experiment in config.experiments.items():
        if experiment.enabled:
            _Resolver(config, plan, name, experiment).enter()
    return plan


class _Resolver:
    """Enters one experiment into a plan, and all that it needs."""

    def __init__(self, config: Config, plan: Plan, name: str, experiment: Experiment) -> None:
        self.config, self.plan, self.name, self.experiment = config, plan, name, experiment
        self.title = experiment.title or name
        self.model = plan.models[experiment.model]

    def enter(self) -> None:
        evaluation = self.evaluation()
        for phase in self.experiment.phases.values():
            self.examine(phase)
        self.plan.bases[self.name] = Base(
            folder=f"bases/{self.name}",
            name=self.model.name,
            experiment=self.name,
            title=self.title,
            model=self.model,
            method="base",
            seed=None,
            evaluation=self.beside(evaluation, None),
            lookup=self.lookup(),
            shown=self.shown(),
        )
        for seed in self.experiment.seeds:
            for phase in self.experiment.phases.values():
                for trial in phase.trials:
                    self.enter_run(phase, trial, seed, evaluation)

    def enter_run(
        self,
        phase: AnyPhase,
        trial: SftTrial | PreferenceTrial,
        seed: int,
        evaluation: Evaluation,
    ) -> None:
        """Enter a trial with one seed. Pairs are scored only by those that learned from pairs.

        A supervised trial's own log-probs of the pairs are the reference of the trials that start
        from it, and stand there. All models are scored by one backend.
        """
        training = self.training(phase, trial, seed)
        of_pairs = METHODS[trial.method].rows == "preferences"
        own = self.beside(evaluation, training.start) if of_pairs else evaluation.without_pairs()
        folder = paths.run_folder(trial.name, seed)
        self.plan.runs[folder] = Run(
            folder=folder,
            name=trial.name,
            experiment=self.name,
            title=self.title,
            model=self.model,
            method=trial.method,
            seed=seed,
            evaluation=own,
            training=training,
        )

    def training(self, phase: AnyPhase, trial: SftTrial | PreferenceTrial, seed: int) -> Training:
        """Return a trial with one seed as it is trained."""
        dataset = trial.dataset or phase.dataset
        method, tokens = METHODS[trial.method], self.tokens_of(dataset, phase)
        training = Training(
            name=trial.name,
            seed=seed,
            method=trial.method,
            rows=self.plan.tokens[tokens].rows,
            model=self.model.name,
            base=self.model.origin,
            revision=self.model.source.get("revision"),
            precision=self.model.precision,
            quantization=self.model.quantization,
            backend=trial.backend,
            layout=trial.layout,
            processes=trial.processes,
            dataset=dataset,
            tokens=tokens,
            train=phase.train,
            valid=phase.valid if trial.eval_strategy != "no" else None,
            lora=trial.lora.model_dump(mode="json"),
            trainer=trial.trainer_settings(),
            stop_when=tuple(trial.stop_when),
        )
        if isinstance(trial, SftTrial):
            return training
        start = paths.run_folder(trial.start, seed) if trial.start else None
        training = replace(training, start=start, **trial.attached_as())
        if not method.has_reference:
            return training
        reference = self.reference(tokens, start, trial.backend)
        if not method.has_partners:
            return replace(training, reference=reference)
        own = self.with_partners(reference, seed, trial.per_device_train_batch_size)
        return replace(training, reference=own, pairs_reference=reference)

    def tokens(self, part: AnyPhase | Generate) -> str:
        """Enter the tokens of a part's dataset and return their name."""
        return self.tokens_of(part.dataset, part)

    def tokens_of(self, dataset: str, part: AnyPhase | Generate) -> str:
        """Enter the tokens of a dataset as a part writes them, and return their name."""
        template = part.template or self.experiment.template
        max_prompt_length = getattr(part, "max_prompt_length", None)
        lengths = filter(None, (self.experiment.max_length, max_prompt_length))
        name = ".".join([dataset, self.model.name, template_name(template), *map(str, lengths)])
        path = template_path(template)
        mixture = self.config.mixtures.get(dataset)
        parts = [(it, self.tokens_of(it, part)) for it in mixture.of] if mixture else []
        found = self.config.datasets.get(dataset)
        self.plan.tokens[name] = Tokens(
            name=name,
            dataset=dataset,
            model=self.model.name,
            template=shortest(path) if path else None,
            max_length=self.experiment.max_length,
            max_prompt_length=max_prompt_length,
            rows=found.rows if found else self.plan.tokens[parts[0][1]].rows,
            every_turn=isinstance(found, ConversationData) and found.turns == "all",
            parts=tuple(parts),
        )
        return name

    def reference(self, tokens: str, start: str | None, backend: str = "transformers") -> str:
        """Enter the reference log-probs of a start and return their name."""
        origin = start.removeprefix("trials/").replace("/", ".") if start else "base"
        # Kernels of another backend round differently: a trial is compared with its own backend's.
        own = [] if backend == "transformers" else [backend]
        name = ".".join([origin, tokens, *own])
        parts = [
            (dataset, self.reference(part, start, backend))
            for dataset, part in self.plan.tokens[tokens].parts
        ]
        self.plan.references[name] = Reference(
            name, self.model, start, tokens, backend, tuple(parts)
        )
        return name

    def with_partners(self, of: str, seed: int, window: int) -> str:
        """Enter the log-probs of single rows and of their partners, and return their name."""
        name = f"{of}.partners-{window}-{seed}"
        self.plan.references[name] = replace(
            self.plan.references[of], name=name, parts=(), of=of, seed=seed, window=window
        )
        return name

    def beside(self, evaluation: Evaluation, start: str | None) -> Evaluation:
        """Return an evaluation whose pairs are scored beside what a start makes of them."""
        if evaluation.pairs is None:
            return evaluation
        return replace(evaluation, reference=self.reference(evaluation.pairs.tokens, start))

    def examine(self, phase: AnyPhase) -> None:
        """Enter a phase's tokens, to be compared with the prompts of generation."""
        asked = next(iter(self.experiment.generate.values()), phase)
        path = template_path(asked.template or self.experiment.template)
        learned = [phase.dataset, *(it.dataset for it in phase.trials if it.dataset)]
        for tokens in (self.tokens_of(dataset, phase) for dataset in dict.fromkeys(learned)):
            self.plan.examined.setdefault(tokens, shortest(path) if path else "chat")

    def lookup(self) -> Lookup | None:
        """Enter the baseline of the pairs that needs no model, and return it."""
        phase = self.experiment.preference
        if phase is None or phase.test is None:
            return None
        if self.plan.tokens[self.tokens(phase)].rows == "unpaired":
            return None
        lookup = Lookup(phase.dataset, phase.train, phase.test)
        return self.plan.lookups.setdefault(lookup.name, lookup)

    def shown(self) -> dict[str, list[str]]:
        """Return by set the runs, with the first seed, whose answers are shown."""
        seed = self.experiment.seeds[0]
        return {
            name: [f"{trial}/seed-{seed}" for trial in generate.show]
            for name, generate in self.experiment.generate.items()
            if generate.show
        }

    def evaluation(self) -> Evaluation:
        """Return what every model of the experiment is scored on, the same for all of them."""
        return Evaluation(
            completions=self.held_out(self.experiment.sft),
            pairs=self.held_out(self.experiment.preference),
            prompts={
                name: self.prompt_set(generate)
                for name, generate in self.experiment.generate.items()
            },
        )

    def held_out(self, phase: AnyPhase | None) -> HeldOut | None:
        """Return the split of a phase that is scored, if any."""
        if phase is None or phase.test is None:
            return None
        return HeldOut(phase.dataset, phase.test, self.tokens(phase))

    def prompt_set(self, generate: Generate) -> PromptSet:
        """Return a set of prompts, its judge and overlap entered."""
        return PromptSet(
            dataset=generate.dataset,
            split=generate.split,
            tokens=self.tokens(generate),
            settings=generate.model_dump(
                mode="json", exclude={"show", "leave_out_overlap", "judge"}
            ),
            overlap=self.overlap(generate) if generate.leave_out_overlap else None,
            scored=not generate.show,
            judge=self.judge(generate),
        )

    def overlap(self, generate: Generate) -> str:
        """Enter which items of a set stand in the SFT rows, and return its name."""
        phase = self.experiment.sft
        assert phase is not None
        overlap = Overlap(
            against=Rows(generate.dataset, generate.split), rows=Rows(phase.dataset, phase.train)
        )
        self.plan.overlaps[overlap.name] = overlap
        return overlap.name

    def judge(self, generate: Generate) -> Judge | None:
        """Return the judge of a set, if any."""
        judge = generate.judge
        if judge is None:
            return None
        model = self.plan.models[judge.model]
        return Judge(judge.kind, model, shortest(judge.template or JUDGE))
