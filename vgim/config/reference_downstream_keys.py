"""Config keys of the public reference (Smooth InfoMax): classifiers and decoders."""

from __future__ import annotations

from vgim.config.reference_row import ANY_CLASSIFIER, DATA_FOLDER, IMAGES, WORKERS, Spelling

_EPOCH = (
    "there the index of an epoch, whose file is model_N.ckpt; here the folder of a checkpoint in place of RUN, and the "
    "last one by default"
)
_FIXED_BATCH = "the reference's loader keeps 64 whatever this says"

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
            "1": "",
            "3": "--shards SHARDS",
            "4": "--shards '$VGIM_HOME/shards/artificial-speech-syllables'",
        },
    ),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.labels",
        "",
        "what a syllable's classifier learns",
        "syllables; others None",
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
        f"{ANY_CLASSIFIER}.dataset.num_workers",
        "",
        "features are computed once, before the classifier",
        "1; others 0",
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
        "True; others False",
    ),
    Spelling(f"{ANY_CLASSIFIER}.dataset.data_input_dir", "", DATA_FOLDER, "./datasets/"),
    Spelling(
        f"{ANY_CLASSIFIER}.dataset.batch_size_multiGPU",
        "--batch-size",
        "the number that the loader reads",
        "64",
    ),
    Spelling(f"{ANY_CLASSIFIER}.dataset.grayscale", "", IMAGES, "False", {"false": ""}),
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
    Spelling("decoder_config.dataset.num_workers", "", WORKERS, "1"),
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
    Spelling("decoder_config.dataset.data_input_dir", "", DATA_FOLDER, "./datasets/"),
    Spelling(
        "decoder_config.dataset.batch_size_multiGPU",
        "train.batch_size",
        "the number that the loader reads",
        "64",
    ),
    Spelling("decoder_config.dataset.grayscale", "", IMAGES, "False", {"false": ""}),
)
