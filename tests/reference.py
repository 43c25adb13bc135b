"""The reference that every faster path is compared with; only the tests use it.

Pillow opens, upright, RGB, torchvision's Resize(255), CenterCrop(224), ToTensor, Normalize, the trunk in float32.
"""

from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision.models import densenet121
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from petrieve.extractor.trunks.weights import BUNDLED

VIEW = Compose([Resize(255), CenterCrop(224)])
TENSOR = Compose([ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])


def reference_view(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return VIEW(ImageOps.exif_transpose(opened).convert("RGB"))


def reference_trunk() -> torch.nn.Module:
    model = densenet121(weights=None)
    state = {name: tensor.float() for name, tensor in load_file(BUNDLED).items()}
    model.load_state_dict(state, strict=False)
    return model.features.eval()


@torch.inference_mode()
def reference_embeddings(paths: list[Path]) -> torch.Tensor:
    trunk = reference_trunk()
    batches = (
        torch.stack([TENSOR(reference_view(path)) for path in paths[i : i + 16]]) for i in range(0, len(paths), 16)
    )
    return torch.cat([trunk(batch).relu().mean((2, 3)) for batch in batches])
