"""In which floating-point type a network is computed."""

from dataclasses import dataclass

import torch

# These releases compute wrong gradients of Conv3d in mixed precision.
WRONG_RELEASES = ("2.9.", "2.10.")
WRONG_CUDNN = range(90800, 91500)


@dataclass(frozen=True)
class Precision:
    """In which floating-point type a network is computed.

    Attributes:
        device: Where.
        dtype: The type of mixed precision; None for `float32`.
    """

    device: torch.device
    dtype: torch.dtype | None

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients are too small for the type, and have to be scaled."""
        return self.dtype is torch.float16

    def autocast(self) -> torch.autocast:
        """Return a context in which the network is computed."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Return what scales the gradients, which does nothing where that is not needed."""
        return torch.amp.GradScaler(self.device.type, enabled=self.needs_scaler)


def choose_precision(device: torch.device, *, mixed: bool) -> Precision:
    """Choose the precision of training, and set that of `float32` convolutions on CUDA.

    On the CPU it is `float32`: PyTorch has wrong bf16 gradients of Conv3d there.

    Args:
        device: Where the network is computed.
        mixed: Whether mixed precision is allowed.
    """
    torch.backends.cudnn.allow_tf32 = mixed
    return Precision(device, amp_dtype(device) if mixed else None)


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision, bfloat16 or else float16; None for `float32`."""
    if device.type != "cuda":
        return None
    release = torch.__version__.split("+")[0]
    cudnn = torch.backends.cudnn.version()
    if release.startswith(WRONG_RELEASES) and cudnn in WRONG_CUDNN:
        print(
            f"PyTorch {release} with cuDNN {cudnn} has wrong gradients in mixed precision: "
            "training in float32; cuDNN 9.15 or newer mends it"
        )
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def has_fast_bfloat16() -> bool:
    """Whether the CPU has instructions that multiply bfloat16: AMX or AVX512_BF16.

    Older releases of PyTorch do not say, and then the answer is no.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
