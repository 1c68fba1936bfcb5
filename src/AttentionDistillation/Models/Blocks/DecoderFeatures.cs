namespace AttentionDistillation.Models.Blocks;

/// <summary>Names of the features that a decoder's trace can record for each layer (numbered from 0).</summary>
public static class DecoderFeatures
{
    /// <summary>[B, L, C]: the normalised input of the attention layer.</summary>
    public static string AttentionInput(int layer) => $"attention_input.{layer}";

    /// <summary>[B, H, L, D]: queries before positions.</summary>
    public static string PlainQuery(int layer) => $"plain_query.{layer}";

    /// <summary>[B, key heads, L, D]: keys before positions.</summary>
    public static string PlainKey(int layer) => $"plain_key.{layer}";

    /// <summary>[B, H, L, D]: mixed values of each head, before the output projection.</summary>
    public static string HeadOutputs(int layer) => $"head_outputs.{layer}";

    /// <summary>[B, H, L, C]: what each head writes into the residual stream, after its part of the output projection, without bias.</summary>
    public static string HeadWrites(int layer) => $"head_writes.{layer}";

    /// <summary>[B, L, C]: what the attention layer adds to the residual stream.</summary>
    public static string AttentionOutput(int layer) => $"attention_output.{layer}";

    /// <summary>[B, L, C]: the normalised input of the feed-forward block.</summary>
    public static string FeedForwardInput(int layer) => $"feed_forward_input.{layer}";

    /// <summary>[B, L, C]: what the feed-forward block adds to the residual stream.</summary>
    public static string FeedForwardOutput(int layer) => $"feed_forward_output.{layer}";

    /// <summary>All names of a decoder with this many layers.</summary>
    internal static string[] All(int layers) =>
        [
            .. Enumerable
                .Range(0, layers)
                .SelectMany(layer =>
                    new[]
                    {
                        AttentionInput(layer),
                        PlainQuery(layer),
                        PlainKey(layer),
                        HeadOutputs(layer),
                        HeadWrites(layer),
                        AttentionOutput(layer),
                        FeedForwardInput(layer),
                        FeedForwardOutput(layer),
                    }
                ),
        ];
}
