"""Training driven by lightning: accelerators, several devices and nodes, mixed precision, callbacks and loggers.

    train = ddpm.trainer(Denoising(images), seed=0)
    train.drive = Lightning(accelerator="gpu", devices=4, precision="bf16-mixed")
    for ticket in tickets(model, train, [1.0, 0.5, 0.2], steps=2000): ...

On one device in float32 the result equals that of the plain loop to the bit. The plain loop stays the default: it needs
none of the seconds that lightning takes to import and to set up each of a search's many trainings, and works on one
device and under torchrun alike.

Lightning sees one epoch whose batches are the numbers of steps. A session steps its own optimizers (manual
optimisation), of a GAN two and one several times a step, so lightning's `max_steps`, which counts steps of optimizers,
its gradient clipping and its checkpoints do not apply; the trainer's own `checkpoints` do, without a pickle. Several
devices do as `gen_tickets._ranks` says: gradients are averaged there, and lightning starts the processes and their
group. Each runs the whole program, as always with lightning.
"""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

__all__ = ["Lightning"]


@dataclass(frozen=True)
class Lightning:
    """Runs a trainer's steps in a `lightning.Trainer`; set `trainer.drive`. Nothing is printed and no file is written.

    Args:
        accelerator: cpu, gpu, or another name that lightning knows.
        devices: how many of a node, or their numbers.
        nodes: how many machines; their processes are started by torchrun, SLURM or the like.
        precision: bf16-mixed computes in bfloat16 where that is safe and keeps weights, moments and averages in
            float32. Those that need a scaled loss (16-mixed) or other weights (bf16-true) are not for sessions that
            step their own optimizers.
        callbacks, loggers: of lightning; the losses of every step are logged.

    Raises:
        ValueError: another precision.

    >>> import torch
    >>> from gen_tickets import vae
    >>> from gen_tickets.models import build
    >>> model, train = build("vae", "tiny"), vae.trainer(torch.zeros(8, 1, 8, 8), vae.Settings(batch=4))
    >>> train.drive = Lightning(accelerator="cpu")
    >>> sorted(train(model, 0, 2))
    ['kl', 'loss', 'reconstruction']
    """

    accelerator: str = "auto"
    devices: int | Sequence[int] = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    callbacks: Sequence[Any] = ()
    loggers: Sequence[Any] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(f"found the precision {self.precision!r}; expected '32-true' or 'bf16-mixed'")

    def __call__(self, model: nn.Module, steps: Iterator[Mapping[str, float]], count: int) -> None:
        """Run all steps with the model on lightning's device; it is back on its own afterwards.

        Args:
            model: moved in place.
            steps: of a training.
            count: how many there are, at most.
        """
        home = next(model.parameters()).device
        handler = signal.getsignal(signal.SIGINT)
        with _quiet():
            try:
                self._trainer().fit(_module(model, steps), range(count))
            except SystemExit as left:
                if not isinstance(left.__context__, KeyboardInterrupt):
                    raise
                signal.signal(signal.SIGINT, handler)  # lightning turns Ctrl+C into an exit and then ignores it
                raise KeyboardInterrupt from left
            finally:
                model.to(home)

    def _trainer(self) -> Any:
        import lightning
        from lightning.pytorch.strategies import DDPStrategy

        class Unwrapped(DDPStrategy):
            """Processes and their group, and the model as it is: sessions average gradients themselves."""

            def configure_ddp(self) -> None:
                """Nothing is wrapped."""

        devices = self.devices if isinstance(self.devices, int) else list(self.devices)
        several = self.nodes > 1 or (devices if isinstance(devices, int) else len(devices)) not in (0, 1)
        return lightning.Trainer(
            accelerator=self.accelerator,
            devices=devices,
            num_nodes=self.nodes,
            strategy=Unwrapped() if several else "auto",
            precision=self.precision,
            max_epochs=1,
            callbacks=list(self.callbacks),
            logger=list(self.loggers),
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )


def _module(model: nn.Module, steps: Iterator[Mapping[str, float]]) -> Any:
    """The training as lightning knows one: a module that is moved, and a step that is done by asking for the next."""
    import lightning

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.model = model

        def configure_optimizers(self) -> list[Any]:
            return []

        def training_step(self, _: int) -> None:
            losses = next(steps, None)  # a checkpoint may have left fewer steps than there are numbers
            if losses is not None:
                self.log_dict(dict(losses), batch_size=1)

        def on_train_end(self) -> None:
            next(steps, None)  # measures and remembers

    return Training()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning logs nothing below a warning inside, and none of its modules warns."""
    import lightning  # noqa: F401 - its import sets the levels

    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
