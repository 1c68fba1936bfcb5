namespace AttentionDistillation.Models.Hub;

/// <summary>Checkpoint names that ViT and DeiT share.</summary>
internal static class VisionNames
{
    /// <summary>Modules and parameters of the encoder, ours to theirs.</summary>
    public static readonly IReadOnlyDictionary<string, string> Encoder = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["embeddings.classToken"] = "embeddings.cls_token",
        ["embeddings.distillationToken"] = "embeddings.distillation_token",
        ["embeddings.positions.table"] = "embeddings.position_embeddings",
        ["embeddings.patches.projection"] = "embeddings.patch_embeddings.projection",
        ["layers.{n}.attentionNorm"] = "encoder.layer.{n}.layernorm_before",
        ["layers.{n}.attention.query"] = "encoder.layer.{n}.attention.attention.query",
        ["layers.{n}.attention.key"] = "encoder.layer.{n}.attention.attention.key",
        ["layers.{n}.attention.value"] = "encoder.layer.{n}.attention.attention.value",
        ["layers.{n}.attention.output"] = "encoder.layer.{n}.attention.output.dense",
        ["layers.{n}.feedForwardNorm"] = "encoder.layer.{n}.layernorm_after",
        ["layers.{n}.feedForward.inner"] = "encoder.layer.{n}.intermediate.dense",
        ["layers.{n}.feedForward.outer"] = "encoder.layer.{n}.output.dense",
        ["norm"] = "layernorm",
    };

    /// <summary>The names of an architecture.</summary>
    /// <param name="architecture">The class name in transformers.</param>
    /// <param name="prefix">What precedes the encoder's names.</param>
    /// <param name="head">Names of the head, ours to theirs.</param>
    public static HubNames Of(string architecture, string prefix, params (string Own, string Theirs)[] head) =>
        new(
            architecture,
            prefix,
            Encoder,
            head.ToDictionary(pair => pair.Own, pair => pair.Theirs, StringComparer.Ordinal),
            // The mask token of masked pre-training, and heads and poolers of other architectures.
            prefix.Length == 0
                ? [@"^embeddings\.mask_token$", "^decoder"]
                : [$@"^{prefix[..^1]}\.embeddings\.mask_token$", $@"^{prefix[..^1]}\.pooler\."],
            HubNames.NothingTied
        );
}

/// <summary>Checkpoint names of the ViT family.</summary>
internal static class VitNames
{
    public static readonly HubNames Bare = VisionNames.Of("ViTModel", "", ("pooler.dense", "pooler.dense"));

    public static readonly HubNames ImageClassification = VisionNames.Of(
        "ViTForImageClassification",
        "vit.",
        ("classifier", "classifier")
    );
}

/// <summary>Checkpoint names of the DeiT family.</summary>
internal static class DeitNames
{
    public static readonly HubNames Bare = VisionNames.Of("DeiTModel", "", ("pooler.dense", "pooler.dense"));

    public static readonly HubNames ImageClassification = VisionNames.Of(
        "DeiTForImageClassification",
        "deit.",
        ("classifier", "classifier")
    );

    public static readonly HubNames WithTeacher = VisionNames.Of(
        "DeiTForImageClassificationWithTeacher",
        "deit.",
        ("classClassifier", "cls_classifier"),
        ("distillationClassifier", "distillation_classifier")
    );
}
