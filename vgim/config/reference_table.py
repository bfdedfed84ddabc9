"""Config keys of the public reference (Smooth InfoMax) and their counterparts here: data alone.

`vgim.config.reference_spelling` looks keys up, and writes the tables of docs/from-the-reference.md from these rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY_CLASSIFIER = "X_classifier_config"
"""Stands in the table for each of `CLASSIFIERS`, whose keys are the same."""
CLASSIFIERS = {
    "syllables_classifier_config": "syllable",
    "phones_classifier_config": "phone",
    "speakers_classifier_config": "speaker",
    "classifier_config_syllables": "syllable",  # names of an earlier version
    "classifier_config_phones": "phone",
    "classifier_config_speakers": "speaker",
}
"""Sections of the reference's classifiers, and the probe's task. One section serves syllables and vowels."""


@dataclass(frozen=True)
class Spelling:
    """One config key of the reference, and what is written here for it."""

    key: str
    """The key as an override spells it there; `X_classifier_config` stands for each classifier."""
    ours: str = ""
    """Config key or option that takes the same value; empty if only `values` have counterparts, or nothing has."""
    note: str = ""
    """What differs, or why there is no counterpart; completes a message, so it has no full stop."""
    default: str = ""
    """Value in the configs that the reference publishes."""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """What is written here for one value, in lower case: an empty text if that value is the default here, None if it
    has no counterpart."""
    unread_by: tuple[str, ...] = ()
    """Programs whose config has the key, which they never read: tasks of probes, or decode."""
    is_share: bool = False
    """Whether the value is a share, so that 1 there is 1.0 here."""


_LOGS = "metrics go to metrics.jsonl and TensorBoard in the run's folder"
_EPOCH = (
    "there the index of an epoch, whose file is model_N.ckpt; here --checkpoint last or best, or the folder of a "
    "checkpoint in place of RUN"
)
_DATA_FOLDER = (
    "there the folder of all corpora; here shards, made by `vgim data prepare NAME --corpus FOLDER`"
)
_IMAGES = "images have no counterpart"
_WORKERS = "Ray reads the shards ahead of training, in as many processes as the node has room for"
_FIXED_BATCH = "the reference's loader keeps 64 whatever this says"

TOP = (
    Spelling(
        "seed",
        "train.seed",
        "-1 there does not seed; here every run is seeded, by default with 0, and a probe with 0 up to --seeds",
        "-1",
        {"-1": None},
    ),
    Spelling("use_wandb", "", _LOGS, "True"),
    Spelling("wandb_project_name", "", _LOGS),
    Spelling("wandb_entity", "", _LOGS),
    Spelling(
        "train",
        "",
        "False there tests what was saved before; here a finished run is left alone, and `vgim probe apply` uses a "
        "saved classifier",
        "True",
        {"true": ""},
    ),
    Spelling(
        "validate",
        "",
        "shards with a validation split are validated on it, shards prepared with --validation-fraction 0 have none",
        "True",
        {"true": ""},
    ),
    Spelling(
        "loss",
        "",
        "the reference stops at an override of it; 1 and 2 are encoders trained on labels",
        "Loss.INFO_NCE",
        {
            "0": "objective.loss=info_nce",
            "1": "vgim probe RUN --task phone --encoder supervised",
            "2": "vgim probe RUN --task speaker --encoder supervised",
            "3": None,
        },
    ),
    Spelling("experiment", "", "audio is all there is", "audio", {"audio": ""}),
    Spelling("config_file", "", "the preset, which each program there sets itself"),
    Spelling(
        "save_dir", "storage.name", "there the first argument; an override comes too late to have an effect"
    ),
    Spelling(
        "log_path",
        "",
        "runs are folders of storage.root; probes, decoders and analyses go into the run's folder",
    ),
    Spelling("log_path_latent", "", "analyses go to RUN/latents"),
    Spelling("model_path", "", "the RUN of `vgim probe`, `vgim decode` and `vgim latents`, a path or a name"),
    Spelling(
        "log_every_x_epochs",
        "",
        "every epoch ends with a checkpoint; train.keep_last and train.keep_every_epochs say which are kept",
        "1",
    ),
    Spelling(
        "device",
        "",
        "there the first GPU, or else the CPU; here a GPU for each worker. Probes and analyses have --device",
        "",
        {"cpu": "cluster.device=cpu", "cuda": "cluster.device=cuda", "cuda:0": "cluster.device=cuda"},
    ),
    Spelling("time", "", "set by the program itself"),
    Spelling("model_type", "", "set by the program itself"),
)

ENCODER = (
    Spelling("encoder_config.num_epochs", "train.epochs", "", "1000"),
    Spelling("encoder_config.learning_rate", "optim.learning_rate", "", "0.0002"),
    Spelling(
        "encoder_config.decay_rate",
        "optim.decay_per_epoch",
        "the reference's configs hold an integer, so that it stops at 0.99",
        "1",
    ),
    Spelling(
        "encoder_config.kld_weight",
        "objective.kld_weight",
        "family sim alone; the reference's other configs hold the integer 0, so that they stop at 0.001",
        "0.01",
    ),
    Spelling("encoder_config.negative_samples", "objective.num_negatives", "", "10"),
    Spelling(
        "encoder_config.subsample",
        "",
        "frames of a crop that are contexts and positives; the reference stops at False",
        "True",
        {"true": "objective.window_frames=128", "false": "objective.window_frames=0"},
    ),
    Spelling(
        "encoder_config.use_batch_norm",
        "",
        "statistics of each GPU's batch; the published commands for Artificial Speech set False",
        "True",
        {"true": "model.batch_norm=local", "false": "model.batch_norm=none"},
    ),
    Spelling(
        "encoder_config.deterministic",
        "",
        "whether probes and decoders read μ, the default here, or a sample, the default there; in training, True "
        "makes a SIM a GIM",
        "False",
        {"true": "", "false": "--sampled"},
    ),
    Spelling(
        "encoder_config.start_epoch",
        "",
        "the same command continues an interrupted run; --resume-from RUN continues another one",
        "0",
        {"0": ""},
    ),
    Spelling("encoder_config.train_w_noise", "", "nothing there reads it", "False", {"false": ""}),
    Spelling(
        "encoder_config.architecture.is_cpc",
        "",
        "a preset of family cpc",
        "",
        {"true": "model.family=cpc objective.kld_weight=0"},
    ),
    Spelling(
        "encoder_config.architecture.modules",
        "",
        "see the keys of a module; overrides can't reach them there",
    ),
    Spelling(
        "encoder_config.dataset.dataset",
        "",
        "the preset, and the shards that it reads",
        "4",
        {
            "1": "vgim train published-librispeech-sim",
            "3": "vgim data prepare librispeech --train-list FILE --test-list FILE",
            "4": "vgim train published-artificial-sim",
            "5": "vgim train published-artificial-sim",
            "6": "vgim train published-artificial-sim",
            "7": None,
            "8": None,
            "9": None,
            "10": None,
        },
    ),
    Spelling(
        "encoder_config.dataset.batch_size",
        "train.batch_size",
        "there for each GPU of one process, here for each rank",
        "64",
    ),
    Spelling("encoder_config.dataset.num_workers", "", _WORKERS, "1"),
    Spelling(
        "encoder_config.dataset.limit_train_batches",
        "train.limit_train_batches",
        "a share of the epoch's batches; the reference reads one batch more",
        "1.0",
        is_share=True,
    ),
    Spelling(
        "encoder_config.dataset.limit_validation_batches",
        "train.limit_validation_batches",
        "a share of the batches; the reference reads one batch more and divides by the smaller number",
        "1.0",
        is_share=True,
    ),
    Spelling("encoder_config.dataset.labels", "", "encoders learn without labels"),
    Spelling(
        "encoder_config.dataset.split_in_syllables",
        "",
        "shards of `--part words` or `--part syllables`",
        "False",
    ),
    Spelling("encoder_config.dataset.data_input_dir", "", _DATA_FOLDER, "./datasets/"),
    Spelling("encoder_config.dataset.batch_size_multiGPU", "", "set by the program itself"),
    Spelling("encoder_config.dataset.grayscale", "", _IMAGES, "False", {"false": ""}),
)

MODULE = (
    Spelling("kernel_sizes", "model.kernels", "all modules in one list", "[10,8,4,4,4]"),
    Spelling("strides", "model.strides", "all modules in one list", "[5,4,2,2,2]"),
    Spelling("padding", "model.paddings", "all modules in one list", "[2,2,2,2,1]"),
    Spelling(
        "non_linearities",
        "",
        "BatchNorm and ReLU follow every convolution",
        "[true,true,true,true,true]",
    ),
    Spelling("modules", "model.layers_per_module", "convolutions of each module", "[2,2,1]"),
    Spelling("cnn_hidden_dim", "model.channels", "", "512"),
    Spelling("regressor_hidden_dim", "model.gru_units", "0 here for no GRU", "256"),
    Spelling("prediction_step", "objective.prediction_steps", "K; 12 in Greedy InfoMax", "10"),
    Spelling(
        "predict_distributions",
        "",
        "False still has the linear head of μ, which is model.head=linear",
        "True",
        {"true": "model.family=sim", "false": "model.family=gim objective.kld_weight=0"},
    ),
    Spelling("is_autoregressor", "", "the last module, if model.gru_units is above 0"),
    Spelling(
        "is_cnn_and_autoregressor",
        "",
        "one module with a GRU",
        "False",
        {"true": "model.family=cpc objective.kld_weight=0"},
    ),
    Spelling("max_pool_k_size", "", "there is no pooling in any published config", "None"),
    Spelling("max_pool_stride", "", "there is no pooling in any published config", "None"),
)
"""Arguments of the reference's `ModuleConfig`, which are changed in its code."""

CLASSIFIER = (
    Spelling(
        f"{ANY_CLASSIFIER}.num_epochs",
        "--epochs",
        "",
        "50; phones 20",
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.learning_rate",
        "--learning-rate",
        "the reference's phones are always learned at 1e-4",
        "0.001; phones 0.0001",
        unread_by=("phone",),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.gradient_clipping",
        "--clip-norm",
        "the reference clips for speakers and phones alone",
        "0.0",
        unread_by=("syllable",),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.bias",
        "",
        "True there also selects the GRU, False the convolutions; here --no-bias and --module are independent",
        "True",
        {"true": "--module -1", "false": "--no-bias --module 2"},
        unread_by=("phone",),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.encoder_module",
        "--module",
        "-1 there is the last module of convolutions with bias=False and the GRU with bias=True; here it is the GRU",
        "-1",
        {"-1": "--module 2"},
        unread_by=("phone",),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.encoder_layer",
        "--layer",
        "-1 there is the module's output, --layer left out here; other numbers are the same, there for CPC alone",
        "-1",
        {"-1": ""},
        unread_by=("phone",),
    ),
    Spelling(f"{ANY_CLASSIFIER}.encoder_num", "", _EPOCH, "999"),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.dataset",
        "--shards",
        "the shards to probe on",
        "4",
        {
            "1": "--shards '$VGIM_HOME/shards/librispeech'",
            "3": "--shards SHARDS",
            "4": "--shards '$VGIM_HOME/shards/artificial-speech-syllables'",
        },
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.labels",
        "",
        "for speakers and phones None there",
        "syllables",
        {"syllables": "--task syllable", "vowels": "--task vowel"},
        unread_by=("phone", "speaker"),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.batch_size",
        "--batch-size",
        f"for syllables and vowels {_FIXED_BATCH}; phones are one utterance a step there",
        "64",
        unread_by=("syllable", "phone"),
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.num_workers", "", "features are computed once, before the classifier", "1"
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.limit_train_batches",
        "",
        "nothing there reads it; here --max-utterances reads fewer",
        "1.0",
    ),
    Spelling(f"{ANY_CLASSIFIER}.dataset.limit_validation_batches", "", "nothing there reads it", "1.0"),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.split_in_syllables",
        "",
        "shards of `vgim data prepare artificial-speech --part syllables`",
        "True",
    ),
    Spelling(f"{ANY_CLASSIFIER}.dataset.data_input_dir", "", _DATA_FOLDER, "./datasets/"),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.batch_size_multiGPU",
        "--batch-size",
        "the number that the loader reads",
        "64",
    ),
    Spelling(f"{ANY_CLASSIFIER}.dataset.grayscale", "", _IMAGES, "False", {"false": ""}),
)

DECODER = (
    Spelling("decoder_config.num_epochs", "train.epochs", "", "200"),
    Spelling("decoder_config.learning_rate", "optim.learning_rate", "", "0.0002"),
    Spelling(
        "decoder_config.gradient_clipping",
        "optim.clip_norm",
        "nothing there reads it",
        "0.0",
        unread_by=("decode",),
    ),
    Spelling(
        "decoder_config.decoder_loss",
        "",
        "terms are named; the numbers are the reference's",
        "6",
        {
            "0": "--loss mse",
            "1": "--loss spectral",
            "2": "--loss mse+spectral",
            "3": "--loss fft+fft_phase",
            "4": "--loss mse+fft+fft_phase",
            "5": "--loss mel",
            "6": "--loss mse+mel",
        },
    ),
    Spelling(
        "decoder_config.encoder_module",
        "--module",
        "-1 there is the last module of convolutions, here the GRU",
        "-1",
        {"-1": "--module 2"},
    ),
    Spelling(
        "decoder_config.encoder_layer",
        "--layer",
        "-1 there is the module's output, --layer left out here; there 2, 5 and 7 of CPC with extra layers alone",
        "-1",
        {"-1": ""},
    ),
    Spelling("decoder_config.encoder_num", "", _EPOCH, "999"),
    Spelling(
        "decoder_config.architectures",
        "",
        "the decoder mirrors the encoder; decoder.channels and decoder.extra_layers change it",
    ),
    Spelling(
        "decoder_config.dataset.dataset", "", "the shards of the encoder's run, or data.shards=SHARDS", "4"
    ),
    Spelling(
        "decoder_config.dataset.batch_size", "train.batch_size", _FIXED_BATCH, "64", unread_by=("decode",)
    ),
    Spelling("decoder_config.dataset.num_workers", "", _WORKERS, "1"),
    Spelling(
        "decoder_config.dataset.limit_train_batches",
        "train.limit_train_batches",
        "a share of the epoch's batches",
        "1.0",
        is_share=True,
    ),
    Spelling(
        "decoder_config.dataset.limit_validation_batches",
        "train.limit_validation_batches",
        "nothing there reads it",
        "1.0",
        unread_by=("decode",),
        is_share=True,
    ),
    Spelling("decoder_config.dataset.labels", "", "decoders learn without labels"),
    Spelling(
        "decoder_config.dataset.split_in_syllables",
        "",
        "shards of `--part words` or `--part syllables`",
        "False",
    ),
    Spelling("decoder_config.dataset.data_input_dir", "", _DATA_FOLDER, "./datasets/"),
    Spelling(
        "decoder_config.dataset.batch_size_multiGPU",
        "train.batch_size",
        "the number that the loader reads",
        "64",
    ),
    Spelling("decoder_config.dataset.grayscale", "", _IMAGES, "False", {"false": ""}),
)

TABLES = {
    "options": TOP,
    "encoder_config": ENCODER,
    "module": MODULE,
    ANY_CLASSIFIER: CLASSIFIER,
    "decoder_config": DECODER,
}
"""All rows, by the table of docs/from-the-reference.md that they stand in."""
