"""Get the ImageNet weights of VGG-16 or VGG-19 from Keras and write them as this folder's networks take them.

    python models/fetch_imagenet.py vgg16

Keras downloads them (528 MB for vgg16, 549 MB for vgg19). --from names a weights file of keras.applications that is
there already.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from training import run

from drpass.errors import DrpassError
from drpass.networks import build_network, save_weights, weights_path

PUBLISHED = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PUBLISHED))
    parser.add_argument("--from", dest="source", default="imagenet", help="a weights file of keras.applications")
    parser.add_argument("--output", type=Path, help="the .npz file to write; the cache folder if not given")
    return parser.parse_args()


def main() -> None:
    options = parse()
    output = options.output or weights_path(options.name)
    try:
        published = PUBLISHED[options.name](weights=options.source)
    except Exception as error:  # of the download, of h5py or of Keras: there is no common class
        reason = str(error).partition("\n")[0]
        raise DrpassError(f"can't load the weights '{options.source}' of {options.name}: {reason}") from error
    model = build_network(options.name)
    model.set_weights(published.get_weights())  # the same layers in the same order; only the softmax differs
    output.parent.mkdir(parents=True, exist_ok=True)
    save_weights(model, output)
    print(f"{output}: {model.count_params():,} weights of '{options.source}'")


if __name__ == "__main__":
    run(main)
