"""How does a word get the meaning that its neighbours give it?

Claim: "apple" is one vector before the first layer, whatever stands beside it; a linear probe tells fruit (苹果, beside
好吃) from telephone (苹果手机, beside 最新款) at chance. After a layer of attention it tells them nearly always, and a
translation made from these vectors has the right word. The heads read it where it stands: they give the word that
decides more weight than the place of the one that decides in another sentence.

The task: an encoder-decoder learns to translate the sentences of the built-in grammar that have ambiguous words. Its
gold links say which word decides. The probe is fitted to sentences that the model learned from and judged on others; in
both, either sense has as many of each form in each place, so that neither form nor place tells. The
same probe on models before training shows what a random layer mixes in.

Cost: two minutes on two cores. Seen with seeds 0 to 7 on an AMD EPYC: the claim holds. The probe is right in 50.0%
before the first layer, 96% after it, 99% after the last (83% before training); 99.2% of the translations have the right
word; the best head gives the deciding word 5.7 times the weight of others.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.analysis import panels
from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.evidence import Finding, Report, interval, plain
from jaxformer.analysis.hidden_states import hidden_states
from jaxformer.analysis.links import followed, followed_and_by_chance
from jaxformer.analysis.probes import probe_layers, ridge
from jaxformer.data.batches import PairBatch
from jaxformer.data.grammar import Example
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training import translation_study as study
from jaxformer.training.study import keys, of_each_seed, train
from jaxformer.training.translation_study import TranslationStudyConfig

CONFIG = TranslationStudyConfig(steps=400, look_every=100, looks_at=2000)
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=100, look_every=100)

FORMS, SENSES = ("apple", "apples"), ("苹果", "苹果手机")


class Apples(NamedTuple):
    """Sentences with an ambiguous word, in pairs of both its senses with the same form and place."""

    pairs: PairBatch
    place_B: np.ndarray
    """Of the ambiguous word."""
    sense_B: np.ndarray
    """A number of SENSES."""
    deciding_BSS: np.ndarray
    """Links from that word to those that decide its sense."""


def apples(corpus: study.Corpus, examples: Sequence[Example]) -> Apples:
    """The first of these sentences that can be matched so."""
    alike = defaultdict(lambda: ([], []))
    for example in examples:
        for place, word in enumerate(example.english):
            rendered = [example.chinese[c] for e, c in example.alignment if e == place]
            if word in FORMS and rendered in ([sense] for sense in SENSES):
                alike[word, place][SENSES.index(rendered[0])].append((example, place))
    matched = [entry for both in alike.values() for pair in zip(*both, strict=False) for entry in pair]
    chosen, places = zip(*matched, strict=True)
    place_B, S = np.array(places), corpus.longest + 1
    deciding_BSS = study.linked(chosen, "sense", (S, S)) & (np.arange(S) == place_B[:, None])[:, :, None]
    return Apples(corpus.rows(chosen), place_B, np.arange(len(chosen)) % len(SENSES), deciding_BSS)


def part(config: TranslationStudyConfig) -> Arrays:
    """The looks of a translator [looks, seeds], accuracy of the probe "before" training and "after" [seeds, L + 1], how
    often the word is "right" in a translation [seeds], and the weight that each head gives to the deciding words of
    sentences "known" and "new", and of another one "elsewhere", [seeds, L, N].
    """
    model, corpus, arm = study.translator(config), study.corpus_of(config), study.translation_arm(config)
    known, new = apples(corpus, corpus.train), apples(corpus, corpus.held_out)
    numbers = np.array([corpus.numbers[sense] for sense in SENSES])

    def begun(apples: Apples) -> tuple[Any, Any]:
        return apples.pairs.source_BS, apples.pairs.target_BT[:, :1]

    def vectors(params: Any, apples: Apples) -> Array:
        states_LBSD = hidden_states(model, params, *begun(apples))["encoder"]
        return states_LBSD[:, jnp.arange(len(apples.place_B)), apples.place_B]

    def told(params: Any, known: Apples, new: Apples) -> Array:
        seen: tuple[Any, Any, Any, Any] = vectors(params, known), known.sense_B, vectors(params, new), new.sense_B
        return probe_layers(*seen, partial(ridge, classes=len(SENSES)))

    def right(params: Any, new: Apples) -> Array:
        has_B2 = jnp.any(study.translated(config, params, new.pairs.source_BS)[:, :, None] == numbers, axis=1)
        return jnp.mean(jnp.all(has_B2 == jax.nn.one_hot(new.sense_B, len(SENSES)), axis=-1))

    def judged(params: Any, known: Apples, new: Apples) -> dict[str, Array]:
        of_known, of_new = (attention_maps(model, params, *begun(apples))["encoder"] for apples in (known, new))
        readable_BSS = (new.pairs.source_BS != study.PAD)[:, None, :]
        own, elsewhere = followed_and_by_chance(of_new, new.deciding_BSS, readable_BSS)
        scores = {"known": followed(of_known, known.deciding_BSS), "new": own, "elsewhere": elsewhere}
        return scores | {"after": told(params, known, new), "right": right(params, new)}

    trained = train(config, arm)
    before = of_each_seed(lambda key, known, new: told(arm.init(key), known, new), keys(config), known, new)
    return trained.looks | of_each_seed(judged, trained.params, known, new) | {"before": before}


def main(config: TranslationStudyConfig, keep: Keep = compute) -> Report:
    """Trains a translator and judges the claim."""
    found = keep("translator", part, config)
    seeds, best_S = np.arange(len(config.seeds)), found["known"].reshape(len(config.seeds), -1).argmax(-1)
    own_S, other_S = (found[name].reshape(len(seeds), -1)[seeds, best_S] for name in ("new", "elsewhere"))
    findings = [
        Finding("probe before the first layer: accuracy", found["after"][:, 0].tolist(), low=0.48, high=0.52),
        Finding("probe after the first layer: accuracy", found["after"][:, 1].tolist(), low=0.9),
        Finding("probe after the last layer: accuracy", found["after"][:, -1].tolist(), low=0.95),
        Finding("the same less that before training", (found["after"] - found["before"])[:, -1].tolist(), low=0.1),
        Finding("translations with the right word for it", found["right"].tolist(), low=0.9),
        Finding("best head: weight of the deciding word, by that elsewhere", (own_S / other_S).tolist(), low=2.0),
    ]
    claim = "before attention a word has no sense, after it the sense that its neighbours decide, and is translated so"
    return Report(claim, findings, plain({"steps": config.looks, **found}))


def draw(path: Path, report: Report) -> str:
    """What a probe tells after each layer, how translation is learned, and whom heads read."""
    found = {name: np.array(values) for name, values in report.figures.items()}
    figure, grid = panels.row(["Telling fruit from telephone", "Learning to translate", "What the word's heads read"])
    layers = range(found["after"].shape[1])
    told = {f"{when} training": interval(found[when]) for when in ("before", "after")}
    panels.curves(grid[0], layers, told, (0.4, 1.03))
    panels.level(grid[0], 0.5, "chance")
    grid[0].set(xticks=layers, xlabel="layers that the word has passed", ylabel="held-out accuracy of a linear probe")
    panels.curves(grid[1], found["steps"].tolist(), {"accuracy": interval(found["accuracy"].T)}, (0.0, 1.03))
    grid[1].set(xlabel="training step", ylabel="right words, given the true ones before")
    heads = [f"layer {layer + 1}" for layer in layers[:-1]]
    of_layer = [(found["elsewhere"][:, i].ravel(), found["new"][:, i].ravel()) for i in range(len(heads))]
    panels.clouds(grid[2], dict(zip(heads, of_layer, strict=True)))
    grid[2].axline((0, 0), slope=1, color=panels.GREY, linewidth=0.8)
    grid[2].set(xlabel="weight of one that decides elsewhere", ylabel="weight of the word that decides here")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds. Dots: every head. Line: equal weights.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
