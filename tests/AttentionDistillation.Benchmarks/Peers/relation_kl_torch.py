"""PyTorch's side of the relation table: KL of two attention maps, forward and backward, as written, compiled, and attention itself as the floor.

Prints one line a measurement: torch FORM B=batch L=length TIME ms peak MEMORY GiB. Needs a CUDA device. Shapes may be given: 8x2048 1x8192 ...
"""
import math
import sys
import time

import torch
import torch.nn.functional as F

HEADS, WIDTH, WARM_UPS, REPETITIONS = 12, 64, 3, 7
LARGEST_MAP = 12 * 16384 * 16384  # elements; a few float32 maps of this size fill 80 GB
SHAPES = ["32x128", "1x8192", "32x512", "8x2048", "1x16384", "1x32768", "1x65536", "1x131072"]


def relation_kl(teacher_query, teacher_key, query, key):
    def log_map(a, b):
        return F.log_softmax((a @ b.transpose(-1, -2)).float() / math.sqrt(a.shape[-1]), -1)

    teacher, student = log_map(teacher_query, teacher_key), log_map(query, key)
    return (teacher.exp() * (teacher - student)).sum(-1).mean()


def attention(teacher_query, teacher_key, query, key):
    return F.scaled_dot_product_attention(query, key, key).float().sum()


def measure(form, loss, batch, length):
    torch.manual_seed(0)
    teacher_query, teacher_key, query, key = (
        torch.randn(batch, HEADS, length, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(4)
    )
    query.requires_grad_()
    key.requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    best = math.inf
    for repetition in range(WARM_UPS + REPETITIONS):
        query.grad = key.grad = None
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss(teacher_query, teacher_key, query, key).backward()
        torch.cuda.synchronize()
        if repetition >= WARM_UPS:
            best = min(best, time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"torch {form} B={batch} L={length} {best * 1e3:.3f} ms peak {peak:.2f} GiB", flush=True)


def main(shapes):
    print(f"# torch {torch.__version__}, CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}", flush=True)
    # Without dynamic=False the second shape would be compiled for any size, which is slower.
    forms = [("sdpa-floor", attention), ("eager", relation_kl), ("compile", torch.compile(relation_kl, dynamic=False))]
    for shape in shapes:
        batch, length = map(int, shape.split("x"))
        for form, loss in forms:
            if form != "sdpa-floor" and batch * HEADS * length * length > LARGEST_MAP:
                print(f"# {form} {shape}: left out, its maps do not fit", flush=True)
                continue
            try:
                measure(form, loss, batch, length)
            except Exception as error:
                print(f"# FAILED {form} {shape}: {str(error)[:120]}", flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:] or SHAPES)
