"""Components: routers, attention, mixtures. They know nothing of where images come from or how a network is trained."""

from moereg.nn.attention import AttentionHead, MultiHeadAttention, MutualAttention
from moereg.nn.demons import DemonsStep, NeuralDemonsLayer
from moereg.nn.moa import MixtureOfAttentionHeads
from moereg.nn.routing import Router, Routing
from moereg.nn.shmoe import ConvolutionExperts, OwnedExpertsMoE, SpatialHeterogeneousMoE

__all__ = [
    "AttentionHead",
    "ConvolutionExperts",
    "DemonsStep",
    "MixtureOfAttentionHeads",
    "MultiHeadAttention",
    "MutualAttention",
    "NeuralDemonsLayer",
    "OwnedExpertsMoE",
    "Router",
    "Routing",
    "SpatialHeterogeneousMoE",
]
