"""Makes the TinyViT fixture with timm: a small model of random weights as timm saves it, with images and the scores that timm gives.

python make_timm_fixtures.py FOLDER     (timm, torch and safetensors installed)
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from timm.models.tiny_vit import TinyVit


def main(folder):
    torch.manual_seed(21)
    sizes = dict(num_classes=5, embed_dims=(16, 32, 64, 32), depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 4), window_sizes=(7, 4, 3, 2))
    model = TinyVit(**sizes).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.2 + (1.0 if value.dim() == 1 and name.endswith("weight") else 0.0))
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(torch.randn_like(value) * 0.2)
            if name.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
        square, oblong = torch.randn(2, 3, 64, 64), torch.randn(1, 3, 72, 56)
        outputs = {"square": square, "square_scores": model(square), "oblong": oblong, "oblong_scores": model(oblong)}
        outputs["square_stage2"] = model.forward_intermediates(square, indices=[1], intermediates_only=True)[0]
    os.makedirs(folder, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    save_file({name: value.contiguous() for name, value in outputs.items()}, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({"architecture": "tiny_vit_5m_224", "num_classes": 5, "pretrained_cfg": {"input_size": [3, 64, 64], "num_classes": 5}}, file, indent=2)
        file.write("\n")


main(sys.argv[1])
