"""The columns of every Parquet file that one stage writes and another reads."""

import pyarrow as pa

# `extra` is what a message has besides, such as tool calls, as JSON text: the arguments of calls
# have keys of their own, which a struct would fill up with nulls. So are a row's `tools`.
MESSAGES = pa.list_(
    pa.struct([("role", pa.string()), ("content", pa.string()), ("extra", pa.string())])
)
TOKENS = pa.list_(pa.int32())

# results/data/{dataset}/{split}.parquet
DEMONSTRATIONS = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("tools", pa.string()),
        ("prompt", MESSAGES),
        ("completion", MESSAGES),
    ]
)
PREFERENCES = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("tools", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
    ]
)
UNPAIRED = DEMONSTRATIONS.append(pa.field("label", pa.bool_()))
# results/data/{dataset}/dropped.parquet
DROPPED = pa.schema([("id", pa.string()), ("split", pa.string()), ("reason", pa.string())])

# Items of a test that stand in training rows: how, and the row that matches best
OVERLAP = pa.schema(
    [("id", pa.string()), ("kind", pa.string()), ("share", pa.float64()), ("row", pa.string())]
)

# results/tokens/{tokens}/{split}.parquet
COMPLETION_TOKENS = pa.schema(
    [("id", pa.string()), ("prompt_ids", TOKENS), ("completion_ids", TOKENS)]
)
# Of conversations whose earlier answers are learned, too: which of the prompt's tokens are those
CONVERSATION_TOKENS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_ids", TOKENS),
        ("prompt_scored", pa.list_(pa.bool_())),
        ("completion_ids", TOKENS),
    ]
)
PREFERENCE_TOKENS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_ids", TOKENS),
        ("chosen_ids", TOKENS),
        ("rejected_ids", TOKENS),
    ]
)

UNPAIRED_TOKENS = COMPLETION_TOKENS.append(pa.field("label", pa.bool_()))

# results/references/{reference}/{split}.parquet; log-probs in nats, summed over the completion; its
# head is its first tokens, as many as the shorter of the two completions has
REFERENCE = pa.schema(
    [
        ("id", pa.string()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("chosen_head_logp", pa.float64()),
        ("rejected_head_logp", pa.float64()),
    ]
)

UNPAIRED_REFERENCE = pa.schema([("id", pa.string()), ("logp", pa.float64())])
# Of the rows that a trial with partners learns, in its order
PARTNERS_REFERENCE = UNPAIRED_REFERENCE.append(pa.field("partner_logp", pa.float64()))

# What evaluation writes for each trial and each base
COMPLETIONS = pa.schema([("id", pa.string()), ("logp", pa.float64()), ("tokens", pa.int32())])
UNPAIRED_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.bool_()),
        ("logp", pa.float64()),
        ("reference_logp", pa.float64()),
        ("tokens", pa.int32()),
    ]
)
PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("reference_chosen_logp", pa.float64()),
        ("reference_rejected_logp", pa.float64()),
        ("margin", pa.float64()),
        ("chosen_tokens", pa.int32()),
        ("rejected_tokens", pa.int32()),
    ]
)
GENERATIONS = pa.schema(
    [
        ("set", pa.string()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("stop", pa.string()),
        # Of a set that asks for the KL: of all new tokens, the one that ended the answer included
        ("logp", pa.float64()),
        ("reference_logp", pa.float64()),
    ]
)
# What a judge says of a trial's answers and its base's: 1 where the trial's is better, 0 where the
# base's is, 0.5 for a tie; the margins are above 0 where it prefers the trial's, shown as A and as
# B, and null where both answers are the same
VERDICTS = pa.schema(
    [
        ("set", pa.string()),
        ("id", pa.string()),
        ("verdict", pa.float64()),
        ("margin_as_a", pa.float64()),
        ("margin_as_b", pa.float64()),
        ("tuned_tokens", pa.int32()),
        ("base_tokens", pa.int32()),
    ]
)
# What measuring writes: every item of every figure that is sum(score) / sum(weight) over items;
# `set` is that of the prompts that were answered, null for figures of completions and pairs
ITEMS = pa.schema(
    [
        ("set", pa.string()),
        ("metric", pa.string()),
        ("id", pa.string()),
        ("group", pa.string()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
    ]
)
