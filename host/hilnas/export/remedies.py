"""What to use in place of a layer that has no int8 form here."""

from __future__ import annotations

from typing import Any

_REMEDIES = {
    "hardswish": "use nn.ReLU, nn.ReLU6, nn.Hardswish or nn.SiLU",
    "softmax": "leave it out of the exported module: the arg-max is the same without it",
    "norm": "use nn.BatchNorm2d, which is folded into the convolution before it",
    "transpose": "enlarge with layers before the network, or leave it out",
    "shuffle": "mix channels with a 1 x 1 nn.Conv2d",
    "pool": "use nn.MaxPool2d, nn.AvgPool2d or nn.AdaptiveAvgPool2d(1)",
    "recurrent": "use convolutions over time",
    "attention": "use a squeeze-and-excitation block, or the litert-torch exporter",
    "conv": "use nn.Conv2d with height or width 1",
    "pad": "pad with zeros: nn.ZeroPad2d",
}
_KINDS = {
    "hardswish": (
        "gelu elu celu selu prelu rrelu leakyrelu leaky_relu mish softplus softsign tanh "
        "threshold hardshrink softshrink logsigmoid glu"
    ),
    "softmax": "softmax softmax2d logsoftmax log_softmax softmin",
    "norm": (
        "groupnorm group_norm layernorm layer_norm instancenorm2d instance_norm rmsnorm localresponsenorm"
    ),
    "transpose": "convtranspose1d convtranspose2d convtranspose3d conv_transpose2d upsample interpolate",
    "shuffle": "channelshuffle channel_shuffle pixelshuffle pixel_shuffle pixelunshuffle transpose permute",
    "pool": (
        "adaptivemaxpool2d adaptive_max_pool2d lppool2d fractionalmaxpool2d maxpool1d avgpool1d "
        "adaptiveavgpool1d amax max"
    ),
    "recurrent": "rnn lstm gru rnncell lstmcell grucell",
    "attention": (
        "multiheadattention transformerencoderlayer scaled_dot_product_attention matmul bmm einsum "
        "transformerencoder"
    ),
    "conv": "conv1d conv3d batchnorm3d",
    "pad": "reflectionpad2d replicationpad2d circularpad2d constantpad2d",
}
_ANY = (
    "write it with convolutions, linear layers, batch-norm, pooling, zero padding, sums, products, "
    "concatenation, ReLU, ReLU6, Hardswish, SiLU or sigmoid"
)
_BY_NAME = {name: _REMEDIES[kind] for kind, names in _KINDS.items() for name in names.split()}


def remedy(target: Any) -> str:
    """The advice for a module type, function or method name."""
    name = getattr(target, "__name__", str(target)).lower().lstrip("_")
    return _BY_NAME.get(name, _ANY)
