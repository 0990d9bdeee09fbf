"""Small models of ours, written out without a config.json: for each family that they may be written as, the names of
its kinds. Nothing is left at a default of transformers, and as many dimensions as may be differ.
"""

from dataclasses import replace

from jaxformer.config.blocks import (
    Block,
    FeedForward,
    FeedForwards,
    Gated,
    Group,
    Latent,
    LayerNorm,
    MultiHead,
    PostNorm,
    RmsNorm,
    SandwichNorm,
)
from jaxformer.config.encoder_decoders import marian, t5
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter, SoftmaxRouter
from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig, Learned
from jaxformer.config.positions import Linear, Llama3, RelativeBuckets, Rotary, Yarn

V, D, N, K, H, F, CONTEXT = 101, 28, 4, 2, 6, 19, 53
NORM = RmsNorm(3e-4)
HEADS = MultiHead(N, K, H, bias=False, rotary=Rotary(300.0))
# torch multiplies experts whose widths are multiples of 4 alone.
MIXTURE = MixtureOfExperts(5, 2, 12)


def decoder(*blocks: Block, **more) -> DecoderConfig:
    return DecoderConfig(D, **{"groups": (Group(blocks, 2),), "norm": blocks[0].norm, "context": CONTEXT} | more)


def with_heads(feed_forward: FeedForwards | None = None, **more) -> Block:
    return Block(replace(HEADS, **more), feed_forward or Gated(F), NORM)


GPT2 = decoder(
    Block(MultiHead(N, N, D // N), FeedForward(F, "gelu_tanh"), LayerNorm(3e-4)),
    position=Learned(CONTEXT, deviation=0.1),
    dropout=0.3,
)

LLAMA = decoder(
    with_heads(Gated(F, "gelu", bias=True), bias=True, rotary=Rotary(300.0, scaling=Llama3(4.0, 1.5, 3.5, 17))),
    tied_output=False,
)
LLAMA_IN_TWO = replace(LLAMA, groups=(replace(LLAMA.groups[0], times=1),) * 2)

SANDWICH = Block(
    replace(HEADS, scale=13**-0.5, window=5), Gated(F, "gelu_tanh"), RmsNorm(3e-4, offset=1.0), SandwichNorm()
)
GEMMA3_LOCAL = replace(SANDWICH, attention=replace(SANDWICH.attention, query_key_norm=SANDWICH.norm))
GEMMA3_GLOBAL = replace(
    GEMMA3_LOCAL,
    attention=replace(GEMMA3_LOCAL.attention, window=None, rotary=Rotary(700.0, scaling=Linear(3.0))),
)

LATENT = Latent(N, 16, 10, 4, 6, 12, Rotary(300.0), RmsNorm(1e-6))
DEEPSEEK = decoder(
    Block(LATENT, Gated(F), NORM),
    groups=(
        Group((Block(LATENT, Gated(F), NORM),)),
        Group((Block(LATENT, MixtureOfExperts(6, 2, 12, SigmoidRouter(3, 2, 1.7), shared=24), NORM),), 2),
    ),
    further=1,
)
YARN = Yarn(4.0, 17, beta_fast=20.0, mscale=1.0, mscale_all_dim=0.8, truncate=False)
SHARPER = LATENT.score_scale * (0.1 * 0.8 * 1.3862943611198906 + 1) ** 2
"""What a scaling with `mscale_all_dim` makes of the scores: ln 4 = 1.386…"""

BERT = EncoderConfig(
    D,
    (Group((Block(MultiHead(N, N, D // N), FeedForward(F, "gelu"), LayerNorm(3e-4), PostNorm()),), 2),),
    position=Learned(CONTEXT),
    segments=3,
    embedding_norm=LayerNorm(3e-4),
    pooler=True,
    context=CONTEXT,
    dropout=0.3,
)

DECODERS: dict[str, tuple[str, DecoderConfig]] = {
    "gpt2": ("gpt2", GPT2),
    "llama": ("llama", LLAMA),
    "llama in two groups": ("llama", LLAMA_IN_TWO),
    "mistral": ("mistral", decoder(with_heads(window=5, rotary=Rotary(300.0, scaling=Linear(3.0))))),
    "qwen2": ("qwen2", decoder(
        with_heads(bias=True, output_bias=False), with_heads(bias=True, output_bias=False, window=5)
    )),
    "qwen3": ("qwen3", decoder(with_heads(query_key_norm=NORM), with_heads(query_key_norm=NORM, window=5))),
    "smollm3": ("smollm3", replace(decoder(with_heads(), with_heads(rotary=None)), width=32)),
    "gemma2": ("gemma2", decoder(
        replace(SANDWICH, attention=replace(SANDWICH.attention, softcap=2.0)), softcap=3.0, embedding_scale=D**0.5
    )),
    "gemma3": ("gemma3_text", decoder(GEMMA3_LOCAL, GEMMA3_GLOBAL, embedding_scale=D**0.5)),
    "mixtral": ("mixtral", decoder(with_heads(MIXTURE))),
    "qwen3 of experts": ("qwen3_moe", decoder(
        with_heads(replace(MIXTURE, router=SoftmaxRouter(normalise=False)), query_key_norm=NORM),
        with_heads(query_key_norm=NORM),
    )),
    "deepseek-v3": ("deepseek_v3", DEEPSEEK),
    "deepseek-v3 without experts": ("deepseek_v3", decoder(Block(
        replace(LATENT, query_width=None, rotary=Rotary(300.0, scaling=YARN, interleaved=True), scale=SHARPER),
        Gated(F),
        NORM,
    ))),
}  # fmt: skip

ENCODERS: dict[str, tuple[str, EncoderConfig]] = {
    "bert with both heads": ("bert", BERT),
    "bert for masked tokens": ("bert", replace(BERT, pooler=False)),
    "bert without a head": ("bert", replace(BERT, masked_head=False)),
}

ENCODER_DECODERS: dict[str, tuple[str, EncoderDecoderConfig]] = {
    "t5": ("t5", t5(D, 2, N, H, FeedForward(F, "relu", bias=False), dropout=0.3)),
    "t5 with gates": ("t5", replace(
        t5(D, 2, N, H, Gated(F, "gelu_tanh"), tied=False), relative=RelativeBuckets(8, 20), norm=RmsNorm(1e-6)
    )),
    "marian": ("marian", marian(D, 2, N, F, dropout=0.3)),
    "marian with plain embeddings": ("marian", replace(marian(D, 2, N, F), embedding_scale=1.0)),
}  # fmt: skip

MODELS = DECODERS | ENCODERS | ENCODER_DECODERS
"""By a name of their own: the family, and the config."""
