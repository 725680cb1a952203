"""`ahekit finetune`: train a new head on a pretrained network, and as much of the network as is not frozen."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ahekit.cli import options, training
from ahekit.spec import resolve_spec

BACKBONE, FREEZING = "Backbone", "Freezing"  # panels of the help page


def finetune(
    *,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Any CNN of timm by its timm name (default resnet18; resnet50, vgg16_bn, inception_v3, "
            "mobilenetv3_large_100, tf_efficientnet_lite0, convnext_atto …), googlenet, or any registered model; "
            "`ahekit plugins` lists those to start with, with parameters, multiply-adds and image size.",
            rich_help_panel=BACKBONE,
            autocompletion=options.complete_models,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="SOURCE",
            help="First weights: hub (default), a FILE (.safetensors, .pth, .pt), package:NAME, or none (random).",
            rich_help_panel=BACKBONE,
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("--tag", help="Which of the hub's weights, as in a1_in1k.", rich_help_panel=BACKBONE),
    ] = None,
    head: Annotated[
        Literal["linear", "mlp"] | None,
        typer.Option("--head", metavar="KIND", help="New classifier: linear or mlp.", rich_help_panel=BACKBONE),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option("--dropout", help="Dropout before the head's layers.", rich_help_panel=BACKBONE),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze",
            metavar="POLICY",
            help="none, early (the stem and the earlier half of the stages), backbone (all but the head), "
            "until:STAGE, or gradual (fewer stages as training goes on).",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    freeze_pattern: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze-pattern",
            metavar="GLOB",
            help="Freeze parameters by name besides, as in '*.layer1.*'; may be given several times.",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    bn: Annotated[
        Literal["frozen", "batch", "recalibrate"] | None,
        typer.Option(
            "--bn",
            metavar="MODE",
            help="BatchNorm of frozen stages: frozen (default), batch, or recalibrate on the training images first.",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    backbone_lr: Annotated[
        float | None,
        typer.Option("--backbone-lr", help="Peak learning rate of all but the head.", rich_help_panel=FREEZING),
    ] = None,
    layer_decay: Annotated[
        float | None,
        typer.Option(
            "--layer-decay",
            help="Each layer's learning rate as a share of the next one's; instead of --backbone-lr.",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(
            "--warmup-epochs", help="First epochs in which only the head is trained.", rich_help_panel=FREEZING
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            metavar="V",
            help="Fixed views of each image, whose passage through the frozen stages is computed once (1: the plain "
            "image alone; 0: new augmentations each epoch, nothing kept). Without it: 4 if all but the head is frozen.",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    feature_cache_gb: Annotated[
        float | None,
        typer.Option(
            "--feature-cache-gb",
            metavar="GIB",
            help="Disk that the kept outputs of frozen stages may take (8); 0 keeps none.",
            rich_help_panel=FREEZING,
        ),
    ] = None,
    data: options.Data = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    accum: options.Accumulation = None,
    lr: options.LearningRate = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    weight_decay: options.WeightDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    class_weights: options.ClassWeights = None,
    sampling: options.Sampling = None,
    mix: options.Mix = None,
    average_decay: options.AverageDecay = None,
    patience: options.Patience = None,
    monitor: options.Monitor = None,
    max_minutes: options.MaxMinutes = None,
    image_size: options.ImageSize = None,
    precision: options.Precision = None,
    channels_last: options.ChannelsLast = None,
    device: options.Device = None,
    seed: options.Seed = None,
    spec: options.Spec = None,
    assignments: options.Assignments = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Fine-tune a pretrained network, and keep the weights that do best on validation.

    Ctrl-C finishes the optimizer step, saves, and says how to go on. Any field of the run spec can be set with --set.
    """
    flags = options.training_flags(
        locals(),
        backbone="model.name",
        weights="model.params.weights",
        tag="model.params.tag",
        head="model.params.head",
        dropout="model.params.dropout",
        freeze="transfer.freeze",
        freeze_pattern="transfer.freeze_pattern",
        bn="transfer.bn",
        backbone_lr="transfer.backbone_lr",
        layer_decay="transfer.layer_decay",
        warmup_epochs="transfer.warmup_epochs",
        views="transfer.views",
        feature_cache_gb="transfer.feature_cache_gb",
    )
    if spec is None:
        flags["recipe"] = "finetune"
    if layer_decay is not None and backbone_lr is None:
        # The recipe's own rate gives way to the one that was asked for.
        flags["transfer"]["backbone_lr"] = None
    training.speak_once(quiet=quiet, json=json)
    training.train_new(resolve_spec(file=spec, flags=flags, assignments=assignments or ()), runs)
