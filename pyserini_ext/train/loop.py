"""The training loop: optimiser, schedule, checkpoints that a killed run goes on from, progress."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from pyserini_ext.errors import InputError
from pyserini_ext.files import atomic_path, write_json

CLIP = 1.0
"""Largest norm of the gradient, as usual for fine-tuning BERT."""

NOTED = 10
"""Steps whose mean stands in the history."""

Loss = Callable[[int, int], tuple[torch.Tensor, dict[str, float]]]
"""(step, part) to the loss of a part of a step and what is to be shown. It must not depend on what
was drawn before: then a resumed run sees the batches of an uninterrupted one."""


class Loop:
    """Trains parameters with AdamW, linear warm-up and linear decay.

    After every `save_every` steps, parameters and moments are written to a safetensors file and
    ``state.json`` is pointed to it, so that at any moment one whole state lies in the folder.

    Parameters
    ----------
    model : Module
        Its parameters that require gradients are trained.
    folder : str or Path
        For the states.
    request : mapping
        JSON that says what the training is; a state of another one is refused.
    steps : int
    rates : mapping of str to float
        Learning rate by the beginning of the parameter's name; the longest that fits counts, ``""``
        fits all.
    warmup : int
        Steps over which the rate rises.
    accumulate : int
        Parts of a step, whose gradients are averaged.
    save_every : int
    scaler : GradScaler, optional
        For a forward pass in float16, whose small gradients would be zero.

    Attributes
    ----------
    step : int
        Steps done, those before an interruption included.
    history : list of dict
        Means over some steps of what the loss reported.
    notes : dict
        JSON that a state keeps besides, for what is done between steps.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        folder: str | Path,
        request: Mapping[str, Any],
        *,
        steps: int,
        rates: Mapping[str, float],
        warmup: int = 0,
        accumulate: int = 1,
        save_every: int = 100,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.folder = model, Path(folder)
        self.request = json.loads(json.dumps(request))
        self.steps, self.warmup, self.accumulate = steps, warmup, accumulate
        self.save_every = save_every
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.step, self.history = 0, list[dict[str, float]]()
        self.notes: dict[str, Any] = {}
        self._recent: list[dict[str, float]] = []
        self._named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self._named.items():
            best = max((start for start in rates if name.startswith(start)), key=len)
            groups.setdefault(rates[best], []).append(parameter)
        # No decay: it would shrink the embeddings of tokens that no batch has.
        self.optimiser = torch.optim.AdamW(
            [{"params": some, "rate": rate} for rate, some in groups.items()], weight_decay=0.0
        )
        self._resume()

    def run(self, loss: Loss, after: Callable[[int], None] | None = None) -> None:
        """Do the steps that are left.

        Parameters
        ----------
        loss : callable
        after : callable, optional
            Called with the number of steps done after each of them.

        Raises
        ------
        InputError
            If the loss is no finite number.
        """
        with tqdm(total=self.steps, initial=self.step, unit="step", smoothing=0.1) as bar:
            while self.step < self.steps:
                shown = self._step(loss)
                self._note(shown)
                self.step += 1
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})
                if after is not None:
                    after(self.step)
                if self.step % self.save_every == 0 and self.step < self.steps:
                    self.save()

    def _step(self, loss: Loss) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part in range(self.accumulate):
            value, shown = loss(self.step, part)
            if not torch.isfinite(value):
                raise InputError(
                    f"the loss of step {self.step} is no finite number; lower --learning-rate"
                )
            self.scaler.scale(value / self.accumulate).backward()
            for name, number in {"loss": float(value.detach()), **shown}.items():
                sums[name] = sums.get(name, 0.0) + number / self.accumulate
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self._named.values(), CLIP)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * rate_share(self.step, self.steps, self.warmup)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return sums

    def _note(self, shown: dict[str, float]) -> None:
        self._recent.append(shown)
        if len(self._recent) == NOTED or self.step + 1 == self.steps:
            mean = {
                name: math.fsum(each[name] for each in self._recent) / len(self._recent)
                for name in shown
            }
            self.history.append(
                {"step": self.step + 1} | {n: float(f"{value:.5g}") for n, value in mean.items()}
            )
            self._recent = []

    def save(self) -> None:
        """Write the state of this moment; the one before is removed when this one is safe."""
        tensors = {f"parameter.{name}": p.detach() for name, p in self._named.items()}
        for name, parameter in self._named.items():
            for kind, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{kind}.{name}"] = value
        name = f"state-{self.step}.safetensors"
        with atomic_path(self.folder / name) as path:
            save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, path)
        write_json(
            self.folder / "state.json",
            {
                "request": self.request,
                "step": self.step,
                "file": name,
                "history": self.history,
                "recent": self._recent,
                "notes": self.notes,
                "scaler": self.scaler.state_dict(),
            },
        )
        for other in self.folder.glob("state-*.safetensors"):
            if other.name != name:
                other.unlink()

    def _resume(self) -> None:
        place = self.folder / "state.json"
        if not place.is_file():
            return
        state = read_state(self.folder, self.request)
        tensors = load_file(self.folder / state["file"])
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                if f"step.{name}" in tensors:
                    self.optimiser.state[parameter] = {
                        "step": tensors[f"step.{name}"],
                        **{
                            kind: tensors[f"{kind}.{name}"].to(parameter.device)
                            for kind in ("exp_avg", "exp_avg_sq")
                        },
                    }
        self.step, self.history, self._recent = state["step"], state["history"], state["recent"]
        self.notes = state["notes"]
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def read_state(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``state.json``.

    Raises
    ------
    InputError
        If the state belongs to another training.
    """
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(request))
    if state["request"] != wanted:
        other = [key for key in wanted if wanted[key] != state["request"].get(key)]
        raise InputError(
            f"{folder} is unfinished training with another {' and '.join(other) or 'request'}; "
            "give that command again, or --overwrite to begin anew"
        )
    return state


def rate_share(step: int, steps: int, warmup: int) -> float:
    """Return the share of the learning rate at a step, from 0: up to 1, and down towards 0.

    Examples
    --------
    >>> [rate_share(step, 6, 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def finish(part: Path, made: Path, output: Path) -> None:
    """Put what was made in its place and remove the rest of the unfinished work."""
    if output.exists():
        shutil.rmtree(output)
    made.replace(output)
    shutil.rmtree(part)
