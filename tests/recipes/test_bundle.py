"""Real pretrained models: what they are known to say. Tests are skipped where the packages that hold them are not
installed.
"""

import math

import numpy as np
import pytest

from jaxformer.config.errors import UserError
from jaxformer.config.sampling import Sampling
from jaxformer.recipes.bundle import load_bundle
from jaxformer.recipes.chat import Chat
from tests import real

GREEDY = Sampling(temperature=0)
PAGE = (
    "The sun rose slowly over the quiet village, and the first light of the morning touched the roofs of the houses. "
    "People opened their windows, children ran into the street, and the baker put the warm bread on the shelves."
)


@pytest.fixture(scope="module")
def minilm():
    return load_bundle(real.minilm())


@pytest.fixture(scope="module")
def smollm():
    return load_bundle(real.smollm())


TEXTS = [
    "How do I reset my password?",
    "I forgot my password, how can I change it?",
    "The cat sleeps on the sofa.",
    "A kitten is napping on the couch.",
    "Shares fell sharply on Monday after the bank's report.",
]


def test_paraphrases_come_first(minilm):
    vectors = minilm.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    nearest = (vectors @ vectors.T - 2 * np.eye(len(TEXTS))).argmax(axis=1)
    assert nearest[:4].tolist() == [1, 0, 3, 2]


def test_embeddings_are_those_of_the_torch_model(torch, transformers, minilm):
    model = transformers.AutoModel.from_pretrained(minilm.path).eval()
    rows = transformers.AutoTokenizer.from_pretrained(minilm.path)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        vectors = model(**rows).last_hidden_state
    there = rows["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((vectors * there).sum(1) / there.sum(1), dim=1)
    np.testing.assert_allclose(minilm.embed(TEXTS), expected.numpy(), atol=1e-5)


def test_a_text_longer_than_the_context_is_refused(minilm):
    with pytest.raises(UserError, match="a text must fit the context of 512 tokens, got 602 in text 2"):
        minilm.embed(["short", "word " * 600])


def test_the_capital_of_france(smollm):
    text = "".join(smollm.generate("The capital of France is", count=4, sampling=GREEDY))
    assert text.startswith(" Paris")


@pytest.mark.slow
def test_a_chat_of_two_turns_remembers_the_first(smollm):
    """The cache is kept: only what is new is read the second time."""
    talk = Chat(smollm, GREEDY)
    assert "Alice" in "".join(talk.answer("My name is Alice. Please greet me by my name.", 40))
    assert "Alice" in "".join(talk.answer("What is my name?", 40))
    assert talk.reused


def test_the_perplexity_is_that_of_an_independent_computation(torch, smollm):
    """The plain forward pass, written once more with torch from the raw tensors of the file."""
    from jaxformer.weights.gguf import open_gguf

    file, ids = open_gguf(smollm.path), smollm.tokenizer.encode(PAGE)
    logits = np.asarray(smollm.logits(np.array([ids])), np.float64)[0]
    ours = perplexity(logits, ids)
    assert math.isclose(ours, perplexity(by_torch(torch, file, ids), ids), rel_tol=1e-4)
    assert ours < 30


def perplexity(logits_TV, ids):
    logits_TV = logits_TV[:-1] - logits_TV[:-1].max(-1, keepdims=True)
    log_p = logits_TV[np.arange(len(ids) - 1), ids[1:]] - np.log(np.exp(logits_TV).sum(-1))
    return math.exp(-log_p.mean())


def by_torch(torch, file, ids):
    """Logits of a Llama in a GGUF file, whose queries and keys turn in pairs of neighbours."""
    meta = {key.removeprefix("llama."): value for key, value in file.metadata.items()}
    heads, shared = meta["attention.head_count"], meta["attention.head_count_kv"]
    of = lambda name: torch.tensor(file.read(name))  # noqa: E731
    norm = lambda x, w: x * torch.rsqrt((x**2).mean(-1, keepdim=True) + meta["attention.layer_norm_rms_epsilon"]) * w  # noqa: E731
    table, T = of("token_embd.weight"), len(ids)
    x, H = table[ids], meta["embedding_length"] // heads
    angles = torch.arange(T)[:, None] * meta["rope.freq_base"] ** (-torch.arange(0, H, 2) / H)
    turn = torch.polar(torch.ones_like(angles), angles)[None]

    def turned(y):
        pairs = torch.view_as_complex(y.reshape(*y.shape[:-1], H // 2, 2).contiguous())
        return torch.view_as_real(pairs * turn).reshape(y.shape)

    for i in range(meta["block_count"]):
        w = lambda name, i=i: of(f"blk.{i}.{name}.weight")  # noqa: E731
        h = norm(x, w("attn_norm"))
        q = turned((h @ w("attn_q").T).reshape(T, heads, H).transpose(0, 1))
        k = turned((h @ w("attn_k").T).reshape(T, shared, H).transpose(0, 1)).repeat_interleave(heads // shared, 0)
        v = (h @ w("attn_v").T).reshape(T, shared, H).transpose(0, 1).repeat_interleave(heads // shared, 0)
        read = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + read.transpose(0, 1).reshape(T, -1) @ w("attn_output").T
        h = norm(x, w("ffn_norm"))
        x = x + (torch.nn.functional.silu(h @ w("ffn_gate").T) * (h @ w("ffn_up").T)) @ w("ffn_down").T
    return (norm(x, of("output_norm.weight")) @ table.T).double().numpy()
