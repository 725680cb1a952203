"""`ahekit finetune`: train a new head on a pretrained network, and as much of the network as is not frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ahekit.cli import options, training
from ahekit.cli.options import Flag
from ahekit.run import runs_root
from ahekit.spec import resolve_spec
from ahekit.validation import merge

BACKBONE, FREEZING = "Backbone", "Freezing"  # panels of the help page

TRANSFER = (
    Flag(
        "backbone",
        "model.name",
        BACKBONE,
        metavar="NAME",
        help="Any CNN of timm by its timm name (default: resnet18; resnet50, vgg16_bn, inception_v3, "
        "mobilenetv3_large_100, tf_efficientnet_lite0, convnext_atto …), googlenet, or any registered model; "
        "`ahekit plugins` lists those to start with, with parameters, multiply-adds and image size.",
        complete=options.complete_models,
    ),
    Flag("weights", "model.params.weights", BACKBONE, metavar="SOURCE"),
    Flag("tag", "model.params.tag", BACKBONE, metavar="TAG"),
    Flag("head", "model.params.head", BACKBONE),
    Flag("dropout", "model.params.dropout", BACKBONE),
    Flag("freeze", "transfer.freeze", FREEZING, metavar="POLICY"),
    Flag("freeze_pattern", "transfer.freeze_pattern", FREEZING, metavar="GLOB"),
    Flag("bn", "transfer.bn", FREEZING),
    Flag("backbone_lr", "transfer.backbone_lr", FREEZING),
    Flag("layer_decay", "transfer.layer_decay", FREEZING),
    Flag("warmup_epochs", "transfer.warmup_epochs", FREEZING),
    Flag("views", "transfer.views", FREEZING),
    Flag("feature_cache_gb", "transfer.feature_cache_gb", FREEZING),
)


@options.sets_fields((*TRANSFER, *options.TRAINING), recipe="finetune")
def finetune(
    *,
    flags: Mapping[str, Any],
    spec: options.Spec = None,
    assignments: options.Assignments = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fine-tune a pretrained network, frozen as far as you like.

    Ctrl-C finishes the optimizer step, saves, and says how to go on. Any field of the run spec can be set with --set.
    """
    if spec is None:
        flags = {**flags, "recipe": "finetune"}
    transfer = flags.get("transfer", {})
    if "layer_decay" in transfer and "backbone_lr" not in transfer:
        # The recipe's own rate gives way to the one that was asked for.
        flags = merge(flags, {"transfer": {"backbone_lr": None}})
    params = flags.get("model", {}).get("params", {})
    source = training.named_source(str(params["weights"]), runs_root(runs)) if "weights" in params else None
    if source is not None:
        del params["weights"]
        flags = training.start_from(flags, source, spec=spec)
    flags = training.with_teacher(flags, runs_root(runs))
    training.speak_once(quiet=quiet, json=json)
    training.train_new(resolve_spec(file=spec, flags=flags, assignments=assignments or ()), runs)
