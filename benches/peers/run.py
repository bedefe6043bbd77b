#!/usr/bin/env python3
"""Times training steps and operations of this crate beside those of other libraries, in one run, on the same data.

    benches/peers/run.py [--cores 0,1] [--threads 1,2] [--rounds 3] [--cases mnist …] [--peers jax …] [--out table.md]

It needs python3 with its venv module, a C compiler and cargo, and installs everything else into a folder of its own
(`--place`, by default target/peers): NumPy, SciPy, JAX and PyTorch from PyPI, OpenBLAS from Debian. What cannot be had
is a row `skipped: reason`. Each measurement is a process; before each peer's comes one of ours, and the ratio is that
of such pairs. Every process first computes losses (or elements of results), which are compared with the same in f64.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Losses and results may be this share off: sums of up to 4096 terms, each rounded to 24 bits.
TOLERANCE = 4096 * 2.0**-24

MAKEMORE = ["makemore_h64", "makemore_h200"]
MNIST = ["mnist_b128", "mnist_b1024"]
STEPS = [*MAKEMORE, *MNIST, "tabular_b4096", "tiny_b10000"]
OPERATIONS = ["cross_entropy_1024x1000", "layer_norm_fwd_4096x1024", "layer_norm_bwd_4096x1024", "adamw_10m"]
CASES = [*STEPS, *OPERATIONS]
DEBIAN = ["libopenblas0-pthread", "libopenblas-pthread-dev", "libgfortran5", "libquadmath0"]


class Skip(Exception):
    """Why something cannot be had."""


def run_quietly(command, what, **options):
    """Runs a command whose output matters only when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    except FileNotFoundError as error:
        raise Skip(f"{what}: {error.filename} is not installed") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error", "e:"))]
        raise Skip(f"{what}: {[*errors, *lines[-1:], 'failed'][0].strip()}")
    return done.stdout


def avx512():
    """Whether libraries that know the CPU's vendor better than its instructions are to be told."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512f" in about and "GenuineIntel" not in about


class Peers:
    """What is installed and built, each once; `why` says for each missing part what is wrong."""

    def __init__(self, place):
        self.place, self.why = place, {}
        self.python = place / "venv/bin/python"
        self.data = place / "data"
        place.mkdir(parents=True, exist_ok=True)

    def attempt(self, part, build):
        print(f"setting up: {part}", file=sys.stderr, flush=True)
        try:
            build()
        except Skip as reason:
            self.why[part] = str(reason)
            print(f"SKIPPED: {part}: {reason}", file=sys.stderr, flush=True)

    def has(self, modules):
        imports = f"import {modules}"
        return self.python.exists() and not subprocess.run(
            [self.python, "-c", imports], capture_output=True, check=False
        ).returncode

    def pip(self, modules, *packages):
        if self.has(modules):
            return
        run_quietly([self.python, "-m", "pip", "install", "-q", "--no-cache-dir", *packages], "pip")
        if not self.has(modules):
            raise Skip(f"{packages[0]} was installed and cannot be imported")

    def venv(self):
        if not self.python.exists():
            run_quietly([sys.executable, "-m", "venv", self.place / "venv"], "venv")
        self.pip("numpy, scipy.special", "numpy", "scipy")

    def openblas(self):
        """Debian's, unpacked and not installed: the folder of the library."""
        root = self.place / "debian"
        library = root / "usr/lib/x86_64-linux-gnu/openblas-pthread"
        if library.exists():
            return root, library
        root.mkdir(exist_ok=True)
        try:
            run_quietly(["apt-get", "download", *DEBIAN], "OpenBLAS", cwd=root)
        except Skip:
            run_quietly(["apt-get", "update", "-q"], "OpenBLAS")
            run_quietly(["apt-get", "download", *DEBIAN], "OpenBLAS", cwd=root)
        for package in root.glob("*.deb"):
            run_quietly(["dpkg", "-x", package, root], "OpenBLAS")
        if not library.exists():
            raise Skip("OpenBLAS: Debian's packages have no such library for this machine")
        return root, library

    def c(self):
        root, library = self.openblas()
        flags = ["-O3", "-march=native", "-ffast-math", "-mprefer-vector-width=512", "-std=gnu11"]
        flags += [f"-I{root}/usr/include/x86_64-linux-gnu/openblas-pthread"]
        link = [f"-L{library}", "-Wl,--disable-new-dtags", f"-Wl,-rpath,{library}:{library.parent}"]
        # An old-style rpath, since the libraries that OpenBLAS itself needs are found by it too.
        link += [f"-Wl,-rpath-link,{library.parent}", "-lopenblas", "-lm"]
        for hidden in (64, 200):
            source, program = HERE / "c/makemore.c", self.place / f"c_makemore_h{hidden}"
            run_quietly(["cc", *flags, f"-DHIDDEN={hidden}", source, "-o", program, *link], "C")
        for case in MNIST:
            run_quietly(["cc", *flags, HERE / "c/mnist.c", "-o", self.place / f"c_{case}", *link], "C")

    def mkl(self):
        source, library = HERE / "c/mkl_any_cpu.c", self.place / "mkl_any_cpu.so"
        run_quietly(["cc", "-O2", "-shared", "-fPIC", source, "-o", library], "preload for MKL")

    def torch(self):
        self.pip("torch", "torch")

    def jax(self):
        self.pip("jax", "jax")

    def rust(self, jobs):
        """Ours and the other crates'; without burn where it does not compile, then without candle."""
        target = self.place / "rust"
        base = ["cargo", "build", "--release", "--locked", "--target-dir", target]
        base += ["--manifest-path", HERE / "rust/Cargo.toml"] + (["-j", str(jobs)] if jobs else [])
        for features, lost in [("burn,candle,gemm", []), ("candle,gemm", ["burn"]), ("", ["burn", "candle", "gemm"])]:
            try:
                run_quietly([*base, "--no-default-features", "--features", features], "cargo")
            except Skip as reason:
                failure = str(reason)
                continue
            for part in lost:
                self.why[part] = failure
                print(f"SKIPPED: {part}: {failure}", file=sys.stderr, flush=True)
            shutil.copy(target / "release/handgrad-peers", self.place / "rust_peers")
            return
        sys.exit(f"our own side does not build: {failure}")


class Peer:
    """A row of the table, for some cases. `command` is what comes before the name of the case."""

    def __init__(self, name, needs, command, cases, **env):
        self.name, self.needs, self.command, self.cases, self.env = name, needs, command, cases, env

    def row(self, case):
        """Its name in the table: an operation is called, not written by hand or differentiated."""
        if case in OPERATIONS and self.name in OF_OPERATIONS:
            return OF_OPERATIONS[self.name]
        return self.name


OF_OPERATIONS = {
    "JAX, a step a call": "JAX, compiled",
    "PyTorch, autograd": "PyTorch, its kernels",
    "NumPy, by hand": "NumPy",
}


def peers_of(peers):
    """All peers, ours first."""
    place, python = peers.place, HERE / "python"

    def in_python(program, variant):
        return lambda case: [peers.python, python / program, variant, case]

    def in_rust(variant, *crates):
        return lambda case: [place / "rust_peers", variant, case, versions(*crates)]

    blas = {"OPENBLAS_CORETYPE": "SkylakeX"} if avx512() else {}
    mkl = {"LD_PRELOAD": str(place / "mkl_any_cpu.so")} if avx512() else {}
    jax, torch = in_python("jax_peer.py", "step"), in_python("torch_peer.py", "autograd")
    by_hand = [*MAKEMORE, *MNIST]
    arrays = in_rust("matrixmultiply", "ndarray", "matrixmultiply")
    as_it_is = Peer("PyTorch, autograd, MKL as it is", ["venv", "torch"], torch, [*MNIST, "tabular_b4096"])
    return [
        Peer("**handgrad**", ["rust"], in_rust("handgrad", "handgrad"), CASES),
        Peer("C + OpenBLAS", ["c"], lambda case: [place / f"c_{case}", case], by_hand, **blas),
        Peer("JAX, steps in one scan", ["venv", "jax"], in_python("jax_peer.py", "scan"), STEPS),
        Peer("JAX, a step a call", ["venv", "jax"], jax, CASES),
        Peer("PyTorch, by hand", ["venv", "torch", "mkl"], in_python("torch_peer.py", "manual"), STEPS, **mkl),
        Peer("PyTorch, autograd", ["venv", "torch", "mkl"], torch, CASES, **mkl),
        *([as_it_is] if mkl else []),
        Peer("NumPy, by hand", ["venv"], in_python("numpy_peer.py", "manual"), CASES, **blas),
        Peer("ndarray + matrixmultiply, by hand", ["rust"], arrays, by_hand),
        Peer("`gemm`, by hand", ["rust", "gemm"], in_rust("gemm", "ndarray", "gemm"), by_hand),
        Peer("candle", ["rust", "candle"], in_rust("candle", "candle-core", "gemm"), STEPS),
        Peer("burn, flex", ["rust", "burn"], in_rust("burn", "burn-flex", "gemm"), STEPS),
    ]


def versions(*crates):
    """Of the Rust peers, as they are locked."""
    locked = dict(re.findall(r'name = "(.+)"\nversion = "(.+)"', (HERE / "rust/Cargo.lock").read_text()))
    return ", ".join(f"{crate} {locked[crate]}" for crate in crates)


def off(case, got, want):
    """What is wrong with the values of a peer, or nothing."""
    if len(got) != len(want):
        return f"{len(got)} values, wanted {len(want)}"
    if case in STEPS:
        sizes = [abs(value) for value in want]
    else:
        # Sixteen elements and a mean square for each array, after the loss if there is one.
        loss = len(want) % 17
        sizes = [abs(value) for value in want[:loss]]
        for first in range(loss, len(want), 17):
            group = want[first : first + 17]
            sizes += [max(abs(value), math.sqrt(group[-1])) for value in group[:-1]] + [group[-1]]
    worst = max((abs(g - w) / size if g == g else math.inf for g, w, size in zip(got, want, sizes)), default=math.inf)
    return None if worst <= TOLERANCE else f"off by {worst:.1e} of the value, allowed {TOLERANCE:.1e}"


def check_the_check():
    """The comparison refuses what is wrong."""
    losses, elements = [3.25, 3.0, 2.5], [4.0, *[1e-3 * i for i in range(16)], 1e-4]
    assert not off("mnist_b128", losses, losses) and not off("adamw_10m", elements, elements)
    assert off("mnist_b128", losses[:2], losses) and off("mnist_b128", [3.25, 3.0, math.nan], losses)
    assert off("mnist_b128", [3.25, 3.0, 2.501], losses)
    for place in range(len(elements)):
        wrong = list(elements)
        wrong[place] += 1e-3 * max(abs(wrong[place]), 1e-2)
        assert off("cross_entropy_1024x1000", wrong, elements), place


def measure(peer, case, threads, args, peers):
    """One process: its best and its median time, and what it says about itself."""
    cores = args.cores[:threads]
    environment = {**os.environ, **peer.env, "PEERS_DATA": str(peers.data), "PEERS_THREADS": str(threads)}
    environment |= {"PEERS_SECONDS": str(args.seconds), "PEERS_REPEATS": str(args.repeats)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in ("OMP", "MKL", "OPENBLAS", "RAYON", "MATMUL"):
        environment[f"{name}_NUM_THREADS"] = str(threads)
    try:
        done = subprocess.run(
            peer.command(case), env=environment, capture_output=True, text=True, timeout=args.timeout, check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    except subprocess.TimeoutExpired as error:
        raise Skip(f"took longer than {args.timeout} s") from error
    if done.returncode:
        raise Skip((done.stderr.strip().splitlines() or ["failed"])[-1])
    said = json.loads(done.stdout.splitlines()[-1])
    want = json.loads((peers.data / case / "expected.json").read_text())
    wrong = off(case, said["values"], want)
    return min(said["us"]), statistics.median(said["us"]), said["about"], wrong


class Results:
    """The times of one peer in one case."""

    def __init__(self):
        self.best, self.median, self.ratios, self.about, self.failure, self.wrong = [], [], [], "", None, None


def compare(case, threads, args, peers, everyone):
    """Ours, a peer, ours, the next peer, and so on, in rounds."""
    ours, *others = [peer for peer in everyone if case in peer.cases]
    results = {peer: Results() for peer in [ours, *others]}
    for peer in others:
        missing = [peers.why[part] for part in peer.needs if part in peers.why]
        results[peer].failure = missing[0] if missing else None
    for round_ in range(args.rounds):
        for peer in others or [ours]:
            if results[peer].failure or results[peer].wrong:
                continue
            print(f"{case} {threads}t round {round_ + 1}: {peer.name}", file=sys.stderr, flush=True)
            try:
                own = measure(ours, case, threads, args, peers)
            except Skip as reason:
                sys.exit(f"our own side fails at {case}: {reason}")
            pairs = [(ours, own)]
            if peer is not ours:
                try:
                    pairs.append((peer, measure(peer, case, threads, args, peers)))
                except Skip as reason:
                    results[peer].failure = str(reason)
                    continue
            for who, (best, median, about, wrong) in pairs:
                result = results[who]
                result.best.append(best)
                result.median.append(median)
                result.ratios.append(best / own[0])
                result.about, result.wrong = about, result.wrong or wrong
    return results


def duration(us):
    return f"{us / 1000:.4g} ms" if us >= 1000 else f"{us:.4g} µs"


def rows_of(case, threads, results):
    for peer, result in results.items():
        start = f"| {case} | {threads} | {peer.row(case)} |"
        if result.failure or not result.best:
            yield f"{start} skipped: {result.failure or 'not run'} | | |"
        elif result.wrong:
            yield f"{start} WRONG: {result.wrong} | | |"
        else:
            ratio = statistics.median(result.ratios)
            yield f"{start} {duration(min(result.best))} | {duration(statistics.median(result.median))} | {ratio:.2f} |"


def numbers(text):
    return [int(part) for part in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", type=Path, default=ROOT / "target/peers", help="where everything is put")
    parser.add_argument("--cores", type=numbers, default=sorted(os.sched_getaffinity(0))[:2], help="the CPUs to run on")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="processes of each peer in each case")
    parser.add_argument("--repeats", type=int, default=7, help="samples in a process")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a sample")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that a process may take")
    parser.add_argument("--cases", nargs="*", default=[""], help="parts of the names of cases")
    parser.add_argument("--peers", nargs="*", default=[""], help="parts of the names of peers")
    parser.add_argument("--jobs", type=int, help="of cargo")
    parser.add_argument("--out", type=Path, help="a file for the table")
    return parser.parse_args()


def main():
    check_the_check()
    args = arguments()
    cases = [case for case in CASES if any(part in case for part in args.cases)]
    peers = Peers(args.place.resolve())
    ours, *others = peers_of(peers)
    everyone = [ours, *(p for p in others if any(part.lower() in p.name.lower() for part in args.peers))]
    needed = {part for peer in everyone for part in peer.needs}
    steps = {"venv": peers.venv, "jax": peers.jax, "torch": peers.torch, "mkl": peers.mkl, "c": peers.c}
    # The expected values are computed in NumPy whoever is compared.
    for part in [part for part in steps if part in needed | {"venv"}]:
        peers.attempt(part, steps[part])
    if "venv" in peers.why:
        sys.exit("without NumPy there are no data and nothing to compare with")
    peers.rust(args.jobs)
    environment = {**os.environ, "PEERS_DATA": str(peers.data), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {f"PEERS_{name}": "1" for name in ("THREADS", "SECONDS", "REPEATS")}
    command = [peers.python, HERE / "python/data.py", ROOT / "data/names.txt", *cases]
    subprocess.run(command, env=environment, check=True)
    table = ["| case | threads | | best | median | times ours |", "|---|---|---|---|---|---|"]
    about, wrong = {}, 0
    for case in cases:
        for threads in args.threads:
            results = compare(case, threads, args, peers, everyone)
            table += rows_of(case, threads, results)
            about |= {peer.name: result.about for peer, result in results.items() if result.about}
            wrong += sum(bool(result.wrong) for result in results.values())
    text = "\n".join(table) + "\n\n"
    text += "Of one step or call: the best sample, the median of the samples, and the best over that of ours just\n"
    text += f"before it, the median of {args.rounds} rounds. Losses and results agree with f64 to {TOLERANCE:.1e}.\n"
    text += "".join(f"\n- {name}: {what}" for name, what in about.items() if what)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    sys.exit(f"{wrong} peers computed something else" if wrong else 0)


if __name__ == "__main__":
    main()
