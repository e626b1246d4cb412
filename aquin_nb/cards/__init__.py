"""What a run says: the typed, versioned records that every view and the board render. Imports nothing else of ours."""

from .align import FeaturePair, SaeAlignCard
from .base import (
    Artifact,
    Card,
    CheckpointRef,
    CorpusRef,
    DictionaryRef,
    ErrorInfo,
    ModelRef,
    Progress,
    Status,
)
from .diff import FeatureDelta, SaeDiffCard
from .kinds import (
    ActivationCaptureCard,
    ActivationStoreCard,
    AnyCard,
    LayerNorms,
    ProbePreview,
    SaeSweepCard,
    SaeTrainCard,
    SessionCard,
    SiteStatistics,
    SweepMember,
    TrainCheckpoint,
    TrainMetrics,
    TrainSettings,
)

__all__ = [
    "ActivationCaptureCard",
    "ActivationStoreCard",
    "AnyCard",
    "Artifact",
    "Card",
    "CheckpointRef",
    "CorpusRef",
    "DictionaryRef",
    "ErrorInfo",
    "FeatureDelta",
    "FeaturePair",
    "LayerNorms",
    "ModelRef",
    "ProbePreview",
    "Progress",
    "SaeAlignCard",
    "SaeDiffCard",
    "SaeSweepCard",
    "SaeTrainCard",
    "SessionCard",
    "SiteStatistics",
    "Status",
    "SweepMember",
    "TrainCheckpoint",
    "TrainMetrics",
    "TrainSettings",
]
