"""One epoch of training, ours beside PyTorch's, on the same data with the same threads.

Both train 784-1200-1200-10 on MNIST with Adam and batches of 200 in float32. Epochs alternate, so that both meet the
same load of the machine; the ratio of every pair is ours over PyTorch's. The first pair is warm-up and left out.

    python benchmarks/train_epoch.py --data-dir DIR --pairs 5 --threads 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder with MNIST (default: SPIKEPORT_DATA, the cache, a download)")
    parser.add_argument("--sizes", default="784,1200,1200,10")
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of epochs that count")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=float, default=1.2, help="exit 1 when the median ratio is above it")
    arguments = parser.parse_args()
    # Read by the BLAS libraries when NumPy and PyTorch are imported, hence before those imports.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    try:
        import torch
    except ImportError:
        print("skipped: PyTorch is not installed (pip install torch), nothing to compare with")
        return 0
    import numpy as np

    from converters.train import TrainOptions, train
    from experiments.datasets import load_dataset
    from neuro.progress import Progress

    torch.set_num_threads(arguments.threads)
    data = load_dataset("mnist", arguments.data_dir)
    sizes = [int(size) for size in arguments.sizes.split(",")]
    torch_epoch = make_torch_epoch(torch, sizes, data.x_train, data.y_train, arguments.batch)
    ours: list[float] = []
    theirs: list[float] = []
    started = time.perf_counter()

    def between_epochs(report: Progress) -> None:
        nonlocal started
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        loss = torch_epoch()
        theirs.append(time.perf_counter() - started)
        print(
            f"pair {report.done - 1}: ours {ours[-1]:.2f} s (loss {report.info['loss']:.4f}), "
            f"PyTorch {theirs[-1]:.2f} s (loss {loss:.4f}), ratio {ours[-1] / theirs[-1]:.3f}",
            flush=True,
        )
        started = time.perf_counter()

    options = TrainOptions(
        batch_size=arguments.batch,
        epochs=arguments.pairs + 1,
        validation=0,
        patience=0,
        clip_norm=0,
        learning_rate_decay=1,
    )
    train(sizes, data.x_train, data.y_train, options, progress=between_epochs)
    ratios = [a / b for a, b in zip(ours[1:], theirs[1:], strict=True)]
    median = statistics.median(ratios)
    print(
        f"{'-'.join(map(str, sizes))}, batch {arguments.batch}, {arguments.threads} threads, "
        f"torch {torch.__version__}, numpy {np.__version__}: "
        f"ours {statistics.median(ours[1:]):.2f} s, PyTorch {statistics.median(theirs[1:]):.2f} s an epoch; "
        f"ratio median {median:.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}, n = {len(ratios)})"
    )
    return int(median > arguments.limit)


def make_torch_epoch(torch, sizes, x, y, batch):
    """Return a function that runs one epoch as a PyTorch user would write it, without a data loader's overhead."""
    torch.manual_seed(0)
    steps = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        steps += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*steps[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def epoch() -> float:
        total = torch.zeros(())
        for chosen in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(chosen)
        return float(total) / len(x)

    return epoch


if __name__ == "__main__":
    sys.exit(main())
