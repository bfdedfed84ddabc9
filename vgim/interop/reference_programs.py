"""Config files and programs of the public reference, by name: what each trains or computes, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Corpus = Literal["artificial", "librispeech"]
Kind = Literal["train", "probe", "decode", "space", "correlation", "weights", "gone"]


@dataclass(frozen=True)
class ConfigFile:
    """A file of the reference's `configs/`: the corpus and the model that it names."""

    corpus: Corpus
    model: Literal["sim", "gim", "cpc", "cpc-extra"]
    overrides: tuple[str, ...] = ()
    """What differs from the published preset of that corpus and model."""


@dataclass(frozen=True)
class Program:
    """A module of the reference that is run with `python -m`."""

    kind: Kind
    section: str = ""
    """Section of the config whose module, layer, epoch and labels the program reads."""
    note: str = ""
    """Why there is no counterpart."""


_GREEDY_INFOMAX = (
    "model.layers_per_module=[1,1,1,1,1]",
    "objective.prediction_steps=12",
    "train.batch_size=8",
)
CONFIGS = {
    "sim_audio_de_boer_distr_true": ConfigFile("artificial", "sim"),
    "sim_audio_de_boer_distr_false": ConfigFile("artificial", "gim"),
    "cpc_audio_de_boer_conventional": ConfigFile("artificial", "cpc"),
    "cpc_audio_de_boer_extra_layers": ConfigFile("artificial", "cpc-extra"),
    "sim_audio_libri_distr_true": ConfigFile("librispeech", "sim"),
    "sim_audio_libri_distr_false": ConfigFile("librispeech", "gim"),
    "enc_gim_audio": ConfigFile("librispeech", "gim", _GREEDY_INFOMAX),
    # names of earlier versions
    "sim_audio_distr_true": ConfigFile("artificial", "sim"),
    "sim_audio_distr_false": ConfigFile("artificial", "gim"),
    "sim_audio_xxxx_distr_true": ConfigFile("artificial", "sim"),
    "sim_audio_xxxx_distr_false": ConfigFile("artificial", "gim"),
    "cpc_audio_de_boer": ConfigFile("artificial", "cpc"),
}
"""Config files that encode speech."""
IMAGE_CONFIGS = ("enc_gim_vision", "vision_default")
"""Config files that encode images."""

DATASETS: dict[str, Corpus | None] = {
    "1": "librispeech",
    "3": "librispeech",
    "4": "artificial",
    "5": "artificial",
    "6": "artificial",
    "7": None,
    "8": None,
    "9": None,
    "10": None,
}
"""Corpora by the reference's number; None for images."""

_CLASSIFIERS = "linear_classifiers."
_POST_HOC = "post_hoc_analysis.interpretability."
_SYLLABLES, _PHONES, _SPEAKERS = (f"{name}_classifier_config" for name in ("syllables", "phones", "speakers"))
_UNFINISHED = "the reference's file does not run; `vgim latents RUN --only sensitivity` attacks an encoder"
PROGRAMS = {
    "main": Program("train", "encoder_config"),
    "encoder.train": Program("train", "encoder_config"),
    f"{_CLASSIFIERS}logistic_regression": Program("probe", _SYLLABLES),
    f"{_CLASSIFIERS}logistic_regression_syllables": Program("probe", _SYLLABLES),
    f"{_CLASSIFIERS}logistic_regression_phones": Program("probe", _PHONES),
    f"{_CLASSIFIERS}logistic_regression_speaker": Program("probe", _SPEAKERS),
    "decoder.train_decoder": Program("decode", "decoder_config"),
    f"{_POST_HOC}main_lat_space": Program("space", _SYLLABLES),
    f"{_POST_HOC}t_sne": Program("space", _SYLLABLES),
    f"{_POST_HOC}main_total_correlation": Program("correlation", _SPEAKERS),
    f"{_POST_HOC}main_vowel_classifier_analysis": Program("weights", _SYLLABLES),
    f"{_POST_HOC}main_speakers_analysis": Program("weights", _SPEAKERS),
    f"{_CLASSIFIERS}fully_supervised_model_syllables": Program(
        "gone",
        note="the reference's file stops; `vgim probe RUN --task syllable --encoder supervised` trains one",
    ),
    f"{_CLASSIFIERS}fully_supervised_model_vowels": Program(
        "gone",
        note="the reference's file stops; `vgim probe RUN --task vowel --encoder supervised` trains one",
    ),
    "decoder.eval_decoder": Program(
        "gone",
        note="the reference's file stops; `vgim decode interpolate RUN A B --dims N` and --mask do what it did",
    ),
    "post_hoc_analysis.adverserial.adverserial_attack": Program("gone", note=_UNFINISHED),
    "post_hoc_analysis.adverserial.adverserial_attack_syllables": Program("gone", note=_UNFINISHED),
}
"""Programs by the name that follows `python -m`."""
OTHER_COMMANDS = (
    "echo",
    "wandb",
    "mkdir",
    "cd",
    "cp",
    "git",
    "wget",
    "gdown",
    "tar",
    "unzip",
    "exit",
    "conda",
    "pip",
)
"""Commands of the shell that stand between the reference's, and are left out."""
