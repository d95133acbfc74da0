"""One sample, one step: what the benchmark times from the start of the process."""

import sys

import numpy as np

import neuro

if __name__ == "__main__":
    network = neuro.SpikingNetwork.load(sys.argv[1])
    neuro.simulate(network, np.full((1, network.input_size), 0.5), 1)
    print("done", flush=True)
