"""Config keys of the public reference (Smooth InfoMax): options of all programs, the encoder and its modules."""

from __future__ import annotations

from vgim.config.reference_row import DATA_FOLDER, IMAGES, IMAGES_SECTION, WORKERS, Spelling

_LOGS = "metrics go to metrics.jsonl and TensorBoard in the run's folder"

TOP = (
    Spelling(
        "seed",
        "train.seed",
        "-1 there does not seed; here a run is seeded with 0 by default, and the fits of --seeds N with 0 to N-1",
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
    Spelling(IMAGES_SECTION, "", IMAGES, "None"),
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
    Spelling("encoder_config.dataset.num_workers", "", WORKERS, "1"),
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
    Spelling("encoder_config.dataset.data_input_dir", "", DATA_FOLDER, "./datasets/"),
    Spelling("encoder_config.dataset.batch_size_multiGPU", "", "set by the program itself"),
    Spelling("encoder_config.dataset.grayscale", "", IMAGES, "False", {"false": ""}),
)

MODULE = (
    Spelling("kernel_sizes", "model.kernels", "all modules in one list", "[10,8,4,4,4]"),
    Spelling("strides", "model.strides", "all modules in one list", "[5,4,2,2,2]"),
    Spelling("padding", "model.paddings", "all modules in one list", "[2,2,2,2,1]"),
    Spelling(
        "non_linearities",
        "model.relus",
        "whether BatchNorm and ReLU follow a convolution",
        "[true,true,true,true,true]",
    ),
    Spelling("modules", "model.layers_per_module", "convolutions of each module", "[2,2,1]"),
    Spelling("cnn_hidden_dim", "model.channels", "", "512"),
    Spelling("regressor_hidden_dim", "model.gru_units", "0 here for no GRU", "256"),
    Spelling(
        "prediction_step",
        "objective.prediction_steps",
        "K, here also a list with one for each module; 12 in Greedy InfoMax",
        "10",
    ),
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
