"""Sets of prompts that models answer, and the judge of the answers."""

from typing import Literal

from pydantic import Field, model_validator

from scripts.config.base import Closed, Count, Name, PlainPath, Positive, Seed, Split


class Judge(Closed):
    """Who says which of two answers is better: a trial's, or its base model's."""

    kind: Literal["logprob"] = Field(
        "logprob", description="logprob: a local model, by the log-probs of its verdicts"
    )
    model: Name = Field(description="one of `models`")
    template: PlainPath | None = Field(
        None,
        description="a .jinja file, the question, with prompt, a and b; else "
        "scripts/evaluate/judge.jinja",
    )


class Generate(Closed):
    """A set of prompts that every model of the experiment answers, and how."""

    dataset: Name
    split: Split = "test"
    template: str | None = Field(None, description="how prompts are written; else the experiment's")
    limit: Count | None = Field(None, description="the first so many prompts; else all")
    max_new_tokens: Count = 128
    do_sample: bool = False
    temperature: Positive | None = None
    top_p: float | None = Field(None, gt=0, le=1)
    own_settings: bool = Field(
        False,
        description="sample as the base model's generation_config.json says, instead of "
        "do_sample, temperature and top_p",
    )
    seed: Seed = Field(0, description="for sampling")
    batch_size: Count = 16
    answer_after: str | None = Field(
        None, description="the answer is what follows the last such mark, where there is one"
    )
    answer_before: str | None = Field(
        None, description="the answer is what precedes the first such mark, where there is one"
    )
    leave_out_overlap: bool = Field(
        False, description="items that stand in the SFT phase's training rows are not scored"
    )
    rules: Literal["titles"] | None = Field(
        None,
        description="what answers are held against without a model; titles: 30 to 75 characters, a "
        "title and nothing else; how it is framed",
    )
    kl: bool = Field(
        False,
        description="measure each trial's KL divergence from its reference on these answers, which "
        "must be sampled untruncated at temperature 1",
    )
    judge: Judge | None = Field(
        None, description="who compares each trial's answers with the base's: docs/judge.md"
    )
    show: list[Name] = Field(
        default_factory=list,
        description="trials whose answers stand beside the base's in the table of examples; such a "
        "set is read, and not scored",
    )

    @model_validator(mode="after")
    def has_effect(self) -> "Generate":
        sampling = {"do_sample", "temperature", "top_p"} & self.model_fields_set
        if self.own_settings and sampling:
            raise ValueError(f"{', '.join(sorted(sampling))} has no effect with own_settings: true")
        if "seed" in self.model_fields_set and not (self.do_sample or self.own_settings):
            raise ValueError("seed has no effect without sampling")
        if not self.do_sample and (self.temperature is not None or self.top_p is not None):
            raise ValueError("temperature and top_p have no effect without do_sample: true")
        return self

    @model_validator(mode="after")
    def kl_is_of_the_policy(self) -> "Generate":
        """Answers drawn otherwise come from another distribution, and so would the estimate."""
        if not self.kl:
            return self
        found = [
            text
            for text, wrong in {
                "own_settings: true": self.own_settings,
                "do_sample: false": not (self.do_sample or self.own_settings),
                f"temperature: {self.temperature}": self.temperature not in (None, 1),
                f"top_p: {self.top_p}": self.top_p not in (None, 1),
            }.items()
            if wrong
        ]
        if found:
            raise ValueError(
                f"kl: true with {', '.join(found)} would be of another distribution than the "
                "model's; it needs do_sample: true, and temperature and top_p null or 1"
            )
        return self

    @model_validator(mode="after")
    def what_is_read_is_not_scored(self) -> "Generate":
        scored = [key for key in ("rules", "kl", "judge") if getattr(self, key)]
        if self.show and scored:
            raise ValueError(
                f"{', '.join(scored)} has no effect on a set with show, which is not scored"
            )
        return self
