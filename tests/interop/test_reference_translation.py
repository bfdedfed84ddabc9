"""`vgim from-reference`: commands of the public reference, written as vgim commands."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from click.testing import CliRunner

from tests.interop.translation_cases import check, commands_of
from vgim.cli import main
from vgim.config import load_config
from vgim.errors import ConfigError
from vgim.interop.reference_programs import CONFIGS, PROGRAMS
from vgim.interop.reference_translation import translate

SYLLABLES = "--shards '$VGIM_HOME/shards/artificial-speech-syllables'"


def comments_of(text: str) -> list[str]:
    return [line.removeprefix("# ") for line in translate(text).splitlines() if line.startswith("# ")]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "sim_audio_distr_true --overrides encoder_config.kld_weight=0.0033 encoder_config.dataset.batch_size=128 "
            "encoder_config.use_batch_norm=False",
            "vgim train published-artificial-sim objective.kld_weight=0.0033 train.batch_size=128 "
            "model.batch_norm=none",
        ),
        (
            "python -m main ./logs sim_audio_de_boer_distr_false --overrides encoder_config.use_batch_norm=False",
            "vgim train published-artificial-gim model.batch_norm=none storage.name=logs",
        ),
        (
            "python main.py logs/a=1 cpc_audio_de_boer_conventional --overrides seed=3 "
            "encoder_config.use_batch_norm=False",
            "vgim train published-artificial-cpc train.seed=3 model.batch_norm=none storage.name=logs-a-1",
        ),
        (
            "./logs sim_audio_de_boer_distr_true --overrides encoder_config.dataset.dataset=1 "
            "encoder_config.dataset.batch_size=8 encoder_config.num_epochs=100 encoder_config.kld_weight=0.001",
            "vgim train published-librispeech-sim train.batch_size=8 train.epochs=100 objective.kld_weight=0.001 "
            "storage.name=logs",
        ),
        (
            "python -m linear_classifiers.logistic_regression ./logs sim_audio_de_boer_distr_true --overrides "
            "syllables_classifier_config.bias=True syllables_classifier_config.dataset.labels=vowels "
            "encoder_config.deterministic=True",
            f"vgim probe logs --task vowel --protocol published {SYLLABLES}",
        ),
        (
            "linear_classifiers.logistic_regression logs sim_audio_de_boer_distr_true --overrides "
            "syllables_classifier_config.bias=False syllables_classifier_config.encoder_module=-1",
            f"vgim probe logs --task syllable --protocol published --no-bias --module 2 {SYLLABLES}",
        ),
        (
            "linear_classifiers.logistic_regression logs sim_audio_de_boer_distr_true --overrides "
            "syllables_classifier_config.bias=False encoder_config.deterministic=True",
            f"vgim probe logs --task syllable --protocol published --no-bias --module 2 --no-sampled {SYLLABLES}",
        ),
        (
            "python -m linear_classifiers.logistic_regression logs cpc_audio_de_boer_extra_layers --overrides "
            "syllables_classifier_config.bias=False syllables_classifier_config.encoder_module=0 "
            "syllables_classifier_config.encoder_layer=5",
            f"vgim probe logs --task syllable --protocol published --no-bias --layer 5 {SYLLABLES}",
        ),
        (
            "python -m linear_classifiers.logistic_regression_speaker logs sim_audio_libri_distr_false --overrides "
            "speakers_classifier_config.bias=False speakers_classifier_config.encoder_module=0 "
            "speakers_classifier_config.num_epochs=10 speakers_classifier_config.dataset.batch_size=8 "
            "speakers_classifier_config.gradient_clipping=1.0",
            "vgim probe logs --task speaker --protocol published --no-bias --module 0 --epochs 10 --batch-size 8 "
            "--clip-norm 1.0",
        ),
        (
            "python -m linear_classifiers.logistic_regression_phones logs sim_audio_libri_distr_true --overrides "
            "phones_classifier_config.num_epochs=10 encoder_config.deterministic=True",
            "vgim probe logs --task phone --protocol published --clip-norm 0 --epochs 10",
        ),
        (
            "python -m linear_classifiers.logistic_regression_phones logs sim_audio_libri_distr_true --overrides "
            "phones_classifier_config.gradient_clipping=0.5",
            "vgim probe logs --task phone --protocol published --sampled --clip-norm 0.5",
        ),
        (
            "python -m decoder.train_decoder logs sim_audio_de_boer_distr_true --overrides "
            "decoder_config.decoder_loss=0 decoder_config.encoder_module=1",
            "vgim decode train logs --protocol published --loss mse --module 1",
        ),
        (
            "python -m decoder.train_decoder logs sim_audio_de_boer_distr_true --overrides "
            "encoder_config.deterministic=True decoder_config.num_epochs=50",
            "vgim decode train logs --protocol published --loss mse+mel --module 2 --no-sampled train.epochs=50",
        ),
        (
            "python -m decoder.train_decoder logs sim_audio_libri_distr_true --overrides decoder_config.num_epochs=50",
            "vgim decode train logs --protocol published --loss mse+mel --module 2 train.epochs=50 train.batch_size=64",
        ),
    ],
)
def test_command_of_the_reference_is_translated(theirs: str, ours: str) -> None:
    [found] = commands_of(theirs)
    assert found == ours
    check(found)


@pytest.mark.parametrize("number", range(7))
def test_every_loss_of_the_decoder_has_its_own(number: int) -> None:
    [found] = commands_of(
        f"decoder.train_decoder logs sim_audio_distr_true --overrides decoder_config.decoder_loss={number}"
    )
    check(found)
    losses = ["mse", "spectral", "mse+spectral", "fft+fft_phase", "mse+fft+fft_phase", "mel", "mse+mel"]
    assert found.split()[7] == losses[number]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_file_has_a_preset(config: str) -> None:
    [found] = commands_of(config)
    check(found)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("config", ["sim_audio_de_boer_distr_true", "cpc_audio_de_boer_extra_layers"])
def test_every_program_is_translated(program: str, config: str) -> None:
    text = f"python -m {program} ./logs {config}"
    assert translate(text)
    assert bool(commands_of(text)) == (PROGRAMS[program].kind != "gone")
    for command in commands_of(text):
        check(command)


def test_defaults_of_the_reference_are_kept_where_the_preset_has_others() -> None:
    [found] = commands_of("sim_audio_libri_distr_true")
    config = load_config(found.split()[2], found.split()[3:]).config
    assert (config.train.epochs, config.train.batch_size, config.objective.kld_weight) == (1000, 64, 0.01)
    assert (config.model.batch_norm, config.optim.learning_rate) == ("local", 2e-4)


def test_deterministic_training_of_a_sim_is_a_gim() -> None:
    theirs = (
        "sim_audio_distr_true --overrides encoder_config.deterministic=True encoder_config.kld_weight=0.1"
    )
    assert commands_of(theirs)[0].startswith("vgim train published-artificial-gim ")
    assert "kld_weight" not in commands_of(theirs)[0]


@pytest.mark.parametrize(
    ("theirs", "comment"),
    [
        ("sim_audio_distr_true --overrides use_wandb=True", "use_wandb=True: metrics go to metrics.jsonl"),
        ("sim_audio_distr_true --overrides seed=-1", "seed=-1: -1 there does not seed"),
        (
            "sim_audio_distr_true --overrides syllables_classifier_config.num_epochs=3 decoder_config.num_epochs=3",
            "overrides for other commands: syllables_classifier_config (1), decoder_config (1)",
        ),
        (
            "sim_audio_distr_false --overrides encoder_config.kld_weight=0.001",
            "encoder_config.kld_weight=0.001: gim has no posterior, so a KL weight would do nothing; the reference "
            "stops at it",
        ),
        (
            "linear_classifiers.logistic_regression logs sim_audio_distr_true --overrides seed=4",
            "seed=4: a fit is seeded with 0 here, and the fits of --seeds N with 0 to N-1",
        ),
        (
            "post_hoc_analysis.interpretability.main_vowel_classifier_analysis logs sim_audio_distr_true --overrides "
            "seed=4",
            "seed=4: a picture of fitted weights has no random draws",
        ),
        (
            "linear_classifiers.logistic_regression_phones logs sim_audio_libri_distr_true --overrides "
            "phones_classifier_config.learning_rate=0.1",
            "phones_classifier_config.learning_rate=0.1: never read by this program of the reference; "
            "--learning-rate 0.1 would do it here",
        ),
        (
            "decoder.train_decoder logs sim_audio_distr_true --overrides decoder_config.dataset.batch_size=8",
            "decoder_config.dataset.batch_size=8: never read by this program of the reference; train.batch_size=8",
        ),
        (
            "decoder.train_decoder logs sim_audio_distr_true --overrides decoder_config.encoder_num=10",
            "decoder_config.encoder_num=10: there the index of an epoch",
        ),
        (
            "sim_audio_distr_true --overrides encoder_config.dataset.dataset=3",
            "encoder_config.dataset.dataset=3: a subset",
        ),
        ("python -m decoder.eval_decoder", "decoder.eval_decoder: the reference's file stops"),
    ],
)
def test_what_has_no_counterpart_or_another_meaning_is_a_comment(theirs: str, comment: str) -> None:
    assert [line for line in comments_of(theirs) if line.startswith(comment)]


@pytest.mark.parametrize("weight", ["0", "1"])
def test_an_integer_as_kl_weight_does_not_stop_the_reference(weight: str) -> None:
    theirs = f"sim_audio_distr_false --overrides encoder_config.kld_weight={weight}"
    assert not [line for line in comments_of(theirs) if "stops" in line]


def test_analyses_of_latents_take_the_seed() -> None:
    interpretability = "post_hoc_analysis.interpretability"
    for program in ("main_lat_space", "main_total_correlation"):
        theirs = f"{interpretability}.{program} logs sim_audio_distr_true --overrides seed="
        found = commands_of(f"{theirs}4")
        assert found
        assert all(command.endswith(" --seed 4") for command in found)
        assert not [line for line in comments_of(f"{theirs}4") if line.startswith("seed")]
        for command in found:
            check(command)
        assert not [command for command in commands_of(f"{theirs}-1") if "--seed" in command]
        assert [line for line in comments_of(f"{theirs}-1") if line.startswith("seed=-1")]


def test_a_comment_that_repeats_stands_below_the_first_command_alone() -> None:
    lines = [
        "sim_audio_distr_true --overrides use_wandb=True",
        "sim_audio_distr_false --overrides use_wandb=True",
    ]
    text = "\n".join(f"python -m main logs {line}" for line in lines)
    assert len(commands_of(text)) == 2
    assert len([line for line in comments_of(text) if line.startswith("use_wandb")]) == 1
    same = "python -m main logs sim_audio_distr_true"
    assert len(commands_of(f"{same}\n{same}")) == 2


@pytest.mark.parametrize("epoch", [99, 0])
def test_last_epoch_needs_no_comment(epoch: int) -> None:
    theirs = "decoder.train_decoder logs sim_audio_distr_true --overrides encoder_config.num_epochs=100 "
    assert not [
        line for line in comments_of(f"{theirs} decoder_config.encoder_num={epoch}") if "encoder_num" in line
    ]


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ("sim_audio_distr_tru", "did you mean sim_audio_distr_true?"),
        ("a b sim_audio_distr_true --overrides seed=1", "is not EXPERIMENT CONFIG"),
        ("logs vision_default", "encodes images, which have no counterpart"),
        (
            "sim_audio_distr_true --overrides encoder_config.kld_weigth=1",
            "did you mean encoder_config.kld_weight?",
        ),
        ("sim_audio_distr_true --overrides encoder_config.kld_weight", "write KEY=VALUE"),
        (
            "sim_audio_distr_true --overrides encoder_config.dataset.dataset=7",
            "its numbers are 1, 3, 4 and 5",
        ),
        (
            "decoder.train_decoder sim_audio_distr_true --overrides decoder_config.decoder_loss=7",
            "give 0 to 6",
        ),
        ("python -m decoder.train_decodr logs sim_audio_distr_true", "did you mean decoder.train_decoder?"),
        *(
            (
                f"sim_audio_distr_true --overrides encoder_config.{key}='{value}'",
                f"encoder_config.{key}={value} is no number; write one, such as encoder_config.{key}={example}",
            )
            for key, value, example in (
                ("kld_weight", "0.01 train.epochs=3", "0.01"),
                ("learning_rate", "1 --shards $(touch x)", "0.0002"),
                ("num_epochs", "abc", "1000"),
                ("kld_weight", "", "0.01"),
                ("learning_rate", "nan", "0.0002"),
                ("learning_rate", "1e999", "0.0002"),
                ("num_epochs", "٣", "1000"),
            )
        ),
        (
            "decoder.train_decoder logs sim_audio_distr_true --overrides decoder_config.encoder_module='0 --x'",
            "decoder_config.encoder_module=0 --x is no number",
        ),
        *(
            (
                f"{before} python -m main logs sim_audio_distr_true",
                f"'{before}' stands before python; leave it out",
            )
            for before in ("CUDA_VISIBLE_DEVICES=0", "srun --gres=gpu:1", "nohup", "time")
        ),
        ("python -m main $override", "$override is a variable of the shell"),
        ("sim_audio_distr_true --overrides wandb_entity='x", "a quote is not closed"),
        ("", "no command of the public reference is given"),
        ("echo 'Training'", "no command of the public reference is given"),
    ],
)
def test_what_cannot_be_translated_is_one_line(theirs: str, message: str) -> None:
    result = CliRunner().invoke(main, ["from-reference", theirs])
    assert result.exit_code == ConfigError.exit_code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_value_stays_one_word() -> None:
    [found] = commands_of("sim_audio_distr_true --overrides save_dir='a train.epochs=3 $(touch x)'")
    assert "storage.name=a train.epochs=3 $(touch x)" in shlex.split(found)


LONG = "x" * 10_000


@pytest.mark.parametrize(
    "theirs",
    [
        LONG,
        f"python {LONG}",
        f"{LONG} python -m main",
        f"${LONG}",
        f"a '{LONG}",
        f"sim_audio_distr_true --overrides {LONG}",
        f"sim_audio_distr_true --overrides {LONG}=1",
        f"sim_audio_distr_true --overrides seed={LONG}",
        f"sim_audio_distr_true --overrides wandb_entity={LONG}",
        f"sim_audio_distr_true --overrides encoder_config.dataset.dataset={LONG}",
        f"decoder.train_decoder logs sim_audio_distr_true --overrides decoder_config.decoder_loss={LONG}",
    ],
)
def test_long_input_is_not_repeated_whole(theirs: str) -> None:
    result = CliRunner().invoke(main, ["from-reference", theirs])
    assert result.exit_code in (0, ConfigError.exit_code)
    assert len(result.output) < 600
    assert f"{'x' * 60}" in result.output
    assert "..." in result.output


SCRIPT = """
# what every command has
override='./logs sim_audio_de_boer_distr_true \\
--overrides encoder_config.use_batch_norm=False \\
use_wandb=True '; # end
wandb login KEY;
echo 'Training';
python -m main $override;
python -m decoder.train_decoder ${override} \\
    decoder_config.decoder_loss=0 \\
    decoder_config.encoder_module=0;
"""


def test_lines_of_a_shell_are_read_with_their_variables() -> None:
    assert commands_of(SCRIPT) == [
        "vgim train published-artificial-sim model.batch_norm=none storage.name=logs",
        "vgim decode train logs --protocol published --loss mse --module 0",
    ]


def test_output_is_what_a_shell_can_run() -> None:
    hostile = "sim_audio_distr_true --overrides \"wandb_entity=a 'b' $(c)\nexit 1\" 'save_dir=1; exit'"
    text = translate(f"{SCRIPT}\n{hostile}")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert [line[:2] for line in words if line] == [["vgim", "train"], ["vgim", "decode"], ["vgim", "train"]]


def test_command_reads_standard_input() -> None:
    result = CliRunner().invoke(main, ["from-reference", "-"], input=SCRIPT)
    assert result.exit_code == 0
    assert result.stdout == translate(SCRIPT) + "\n"
