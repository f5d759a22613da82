"""Tiny nets in float64, and batches for them."""

import torch
from torch import nn
from torch.nn import functional

from hilnas.tasks.training import Batch


class Plain(nn.Module):
    """Convolution, batch-norm, ReLU, pooling, a matrix."""

    def __init__(self, activation=nn.ReLU, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, 3, 3, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.activation = activation()
        self.linear = nn.Linear(3 * 4, 2)
        self.double()

    def forward(self, images):
        return self.linear(self.activation(self.norm(self.conv(images))).flatten(1))


class Functional(Plain):
    """The same, with functions in the place of modules."""

    def forward(self, images):
        images = functional.conv2d(images, self.conv.weight)
        images = functional.batch_norm(images, None, None, self.norm.weight, self.norm.bias, training=True)
        return functional.linear(functional.relu(images).flatten(1), self.linear.weight, self.linear.bias)


def batch(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 4, 4, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(count) % 2)


def batch_normed(values, weight, bias, eps=1e-5):
    """Batch-norm by the batch's own statistics, written out."""
    mean = values.mean((0, 2, 3), keepdims=True)
    variance = ((values - mean) ** 2).mean((0, 2, 3), keepdims=True)
    shape = (1, -1, 1, 1)
    return (values - mean) / (variance + eps) ** 0.5 * weight.reshape(shape) + bias.reshape(shape)


def forward(net, conv, matrix, images):
    """Plain's answer with other weights, written out with NumPy: logits [N, 2]."""
    import numpy as np

    images, conv, matrix = (np.asarray(value) for value in (images, conv, matrix))
    outputs = np.zeros((len(images), 3, 2, 2))
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                patch = images[:, 0, row : row + 3, column : column + 3]
                outputs[:, channel, row, column] = (patch * conv[channel, 0]).sum((1, 2))
    weight, bias = (p.detach().numpy() for p in (net.norm.weight, net.norm.bias))
    hidden = batch_normed(outputs, weight, bias)
    return np.maximum(hidden, 0).reshape(
        len(images), -1
    ) @ matrix.T + net.linear.bias.detach().numpy(), hidden


def loss(net, conv, matrix, batch):
    """Its mean cross-entropy."""
    import numpy as np

    logits, _ = forward(net, conv, matrix, batch.inputs)
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return float(-np.log(likely[np.arange(len(logits)), batch.labels.numpy()]).mean())


def gradients(net, batch, step=1e-6):
    """The loss's gradients by both weights, by central differences."""
    import numpy as np

    weights = [net.conv.weight.detach().numpy().copy(), net.linear.weight.detach().numpy().copy()]
    found = []
    for place, weight in enumerate(weights):
        gradient = np.zeros_like(weight)
        for index in np.ndindex(*weight.shape):
            moved = []
            for sign in (1, -1):
                changed = [w.copy() for w in weights]
                changed[place][index] += sign * step
                moved.append(loss(net, *changed, batch))
            gradient[index] = (moved[0] - moved[1]) / (2 * step)
        found.append(gradient)
    return found
