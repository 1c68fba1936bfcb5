using AttentionDistillation.Attention;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>Checkpoint names of the CLIP family, and what its three kinds of model share.</summary>
internal static class ClipNames
{
    /// <summary>The feature that holds a tower's last hidden state.</summary>
    private const string LastHiddenState = "last_hidden_state";

    private const string TextPrefix = "text_model.";
    private const string VisionPrefix = "vision_model.";

    public static readonly HubNames Joint = new(
        "CLIPModel",
        "",
        Encoder(TextPrefix, VisionPrefix),
        new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["textProjection"] = "text_projection",
            ["visualProjection"] = "visual_projection",
            ["logitScale"] = "logit_scale",
        },
        [],
        HubNames.NothingTied
    );

    /// <summary>A text model's names.</summary>
    /// <param name="withProjection">Whether it projects.</param>
    /// <param name="prefixed">Whether its names begin with <c>text_model.</c>, as nearly all checkpoints' do.</param>
    public static HubNames Text(bool withProjection, bool prefixed) =>
        new(
            withProjection ? "CLIPTextModelWithProjection" : "CLIPTextModel",
            "",
            Encoder(prefixed ? TextPrefix : "", VisionPrefix),
            Head(withProjection, "textProjection", "text_projection"),
            [@"^vision_model\.", @"^visual_projection\.", "^logit_scale$", .. Unused(withProjection, "text_projection")],
            HubNames.NothingTied
        );

    /// <summary>A vision model's names.</summary>
    /// <param name="withProjection">Whether it projects.</param>
    /// <param name="prefixed">Whether its names begin with <c>vision_model.</c>, as nearly all checkpoints' do.</param>
    public static HubNames Vision(bool withProjection, bool prefixed) =>
        new(
            withProjection ? "CLIPVisionModelWithProjection" : "CLIPVisionModel",
            "",
            Encoder(TextPrefix, prefixed ? VisionPrefix : ""),
            Head(withProjection, "visualProjection", "visual_projection"),
            [@"^text_model\.", @"^text_projection\.", "^logit_scale$", .. Unused(withProjection, "visual_projection")],
            HubNames.NothingTied
        );

    /// <summary>A model's tensors as checkpoints shape them: class token and positions without the axis of the batch.</summary>
    public static IReadOnlyDictionary<string, Tensor> Tensors(nn.Module model, HubNames names)
    {
        var tensors = HubTensors.Of(model, names.ToHub);
        foreach (string name in tensors.Keys.ToArray())
            if (name.EndsWith("class_embedding", StringComparison.Ordinal))
                tensors[name] = tensors[name].detach().view(-1);
            else if (name.EndsWith("position_embedding.weight", StringComparison.Ordinal) && tensors[name].dim() == 3)
                tensors[name] = tensors[name].detach().squeeze(0);
        return tensors;
    }

    /// <summary>What a tower's model can record: what the tower can, its last hidden state, and the projection if there is one.</summary>
    public static TraceCapabilities Describe(ITracedModel tower, string? projected) =>
        tower.Capabilities with
        {
            Features = [LastHiddenState, ClipModel.PoolerOutput, .. projected is null ? [] : new[] { projected }],
        };

    /// <summary>Records a tower's features and gives its model's output.</summary>
    public static Tensor Finish(Tensor hidden, Tensor pooled, Linear? projection, string projected, ForwardTrace? trace)
    {
        var output = projection is null ? hidden.alias() : projection.call(pooled);
        if (trace?.WantsFeature(LastHiddenState) == true)
            trace.RecordFeature(LastHiddenState, hidden.alias());
        if (trace?.WantsFeature(ClipModel.PoolerOutput) == true)
            trace.RecordFeature(ClipModel.PoolerOutput, pooled);
        if (trace?.WantsFeature(projected) == true)
            trace.RecordFeature(projected, output.alias());
        return output;
    }

    private static Dictionary<string, string> Head(bool withProjection, string own, string theirs) =>
        withProjection ? new(StringComparer.Ordinal) { [own] = theirs } : [];

    private static string[] Unused(bool withProjection, string projection) => withProjection ? [] : [$@"^{projection}\."];

    private static Dictionary<string, string> Encoder(string text, string vision)
    {
        var names = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["text.tokens"] = text + "embeddings.token_embedding",
            ["text.positions"] = text + "embeddings.position_embedding",
            ["text.norm"] = text + "final_layer_norm",
            ["vision.embeddings.classToken"] = vision + "embeddings.class_embedding",
            ["vision.embeddings.patches.projection"] = vision + "embeddings.patch_embedding",
            ["vision.embeddings.positions.table"] = vision + "embeddings.position_embedding.weight",
            ["vision.embeddingNorm"] = vision + "pre_layrnorm",
            ["vision.poolerNorm"] = vision + "post_layernorm",
        };
        foreach (var (tower, prefix) in new[] { ("text", text), ("vision", vision) })
        {
            names[$"{tower}.layers.{{n}}.attentionNorm"] = prefix + "encoder.layers.{n}.layer_norm1";
            names[$"{tower}.layers.{{n}}.attention.query"] = prefix + "encoder.layers.{n}.self_attn.q_proj";
            names[$"{tower}.layers.{{n}}.attention.key"] = prefix + "encoder.layers.{n}.self_attn.k_proj";
            names[$"{tower}.layers.{{n}}.attention.value"] = prefix + "encoder.layers.{n}.self_attn.v_proj";
            names[$"{tower}.layers.{{n}}.attention.output"] = prefix + "encoder.layers.{n}.self_attn.out_proj";
            names[$"{tower}.layers.{{n}}.feedForwardNorm"] = prefix + "encoder.layers.{n}.layer_norm2";
            names[$"{tower}.layers.{{n}}.feedForward.inner"] = prefix + "encoder.layers.{n}.mlp.fc1";
            names[$"{tower}.layers.{{n}}.feedForward.outer"] = prefix + "encoder.layers.{n}.mlp.fc2";
        }
        return names;
    }
}
