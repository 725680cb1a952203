"""From a run to a model folder: weights, thresholds, compressed embeddings, model card, ONNX."""
