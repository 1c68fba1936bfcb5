"""Opens checkpoints that `interop-save` wrote with transformers and compares outputs.

    python3 open_saved.py DIR

Every tensor must have its place (nothing missing, nothing left over), and every output must agree to 1e-4 of the largest value, or 1e-4.
Exit code 0 when all do.
"""

import inspect
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

TOLERANCE = 1e-4


def compare(folder):
    config = json.loads((folder / "config.json").read_text())
    cls = getattr(transformers, config["architectures"][0])
    model, info = cls.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
    misplaced = {k: sorted(map(str, v)) for k, v in info.items() if k in ("missing_keys", "unexpected_keys", "mismatched_keys") and v}
    if misplaced:
        return f"MISPLACED {misplaced}"
    ours = load_file(folder / "ours.safetensors")
    batch = {k[3:]: v for k, v in ours.items() if k.startswith("in/")}
    accepted = inspect.signature(model.forward).parameters
    extra = {"use_cache": False} if "use_cache" in accepted else {}
    with torch.no_grad():
        result = model.eval()(**batch, output_hidden_states=True, return_dict=True, **extra)
    worst, compared = 0.0, []
    for key, value in ours.items():
        if not key.startswith("out/"):
            continue
        name = key[4:]
        theirs = result.hidden_states[int(name[7:])] if name.startswith("hidden.") else result[name]
        if theirs.shape != value.shape:
            return f"SHAPE {name}: {tuple(value.shape)} here, {tuple(theirs.shape)} in transformers"
        difference = (theirs - value).abs()
        mask = batch.get("attention_mask")
        if mask is not None and difference.dim() >= 2 and mask.dim() == 2 and difference.shape[:2] == mask.shape:
            difference = difference * mask.reshape(*mask.shape, *[1] * (difference.dim() - 2))
        worst = max(worst, (difference.max() / max(1.0, theirs.abs().max())).item())
        compared.append(name)
    verdict = "agrees" if worst <= TOLERANCE and compared else "DIFFERS"
    return f"{verdict} ({worst:.1e}; {len(compared)} outputs)"


def main():
    bad = 0
    folders = sorted(path.parent for path in Path(sys.argv[1]).glob("*/ours.safetensors"))
    for folder in folders:
        try:
            line = compare(folder)
        except Exception as error:
            line = f"NOT OPENED: {type(error).__name__}: {error}"
        bad += not line.startswith("agrees")
        print(f"{folder.name}: {line}")
    print(f"{len(folders)} folders, {bad} bad; transformers {transformers.__version__}")
    sys.exit(0 if folders and not bad else 1)


if __name__ == "__main__":
    main()
