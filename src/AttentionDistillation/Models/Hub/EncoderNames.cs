namespace AttentionDistillation.Models.Hub;

/// <summary>
/// Checkpoint names of the encoders' modules, ours to theirs. A form of attention with weights keeps them beside the layer's own: Longformer's global
/// projections as transformers' Longformer names them.
/// </summary>
internal static class EncoderNames
{
    /// <summary>BERT and RoBERTa.</summary>
    public static readonly IReadOnlyDictionary<string, string> Bert = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["embeddings.words"] = "embeddings.word_embeddings",
        ["embeddings.positions"] = "embeddings.position_embeddings",
        ["embeddings.tokenTypes"] = "embeddings.token_type_embeddings",
        ["embeddings.norm"] = "embeddings.LayerNorm",
        ["encoder.layers.{n}.attention.query"] = "encoder.layer.{n}.attention.self.query",
        ["encoder.layers.{n}.attention.key"] = "encoder.layer.{n}.attention.self.key",
        ["encoder.layers.{n}.attention.value"] = "encoder.layer.{n}.attention.self.value",
        ["encoder.layers.{n}.attention.output"] = "encoder.layer.{n}.attention.output.dense",
        ["encoder.layers.{n}.attention.form.query"] = "encoder.layer.{n}.attention.self.query_global",
        ["encoder.layers.{n}.attention.form.key"] = "encoder.layer.{n}.attention.self.key_global",
        ["encoder.layers.{n}.attention.form.value"] = "encoder.layer.{n}.attention.self.value_global",
        ["encoder.layers.{n}.attention.form"] = "encoder.layer.{n}.attention.self.form",
        ["encoder.layers.{n}.attentionNorm"] = "encoder.layer.{n}.attention.output.LayerNorm",
        ["encoder.layers.{n}.feedForward.inner"] = "encoder.layer.{n}.intermediate.dense",
        ["encoder.layers.{n}.feedForward.outer"] = "encoder.layer.{n}.output.dense",
        ["encoder.layers.{n}.outputNorm"] = "encoder.layer.{n}.output.LayerNorm",
    };

    /// <summary>DistilBERT.</summary>
    public static readonly IReadOnlyDictionary<string, string> DistilBert = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["embeddings.words"] = "embeddings.word_embeddings",
        ["embeddings.positions"] = "embeddings.position_embeddings",
        ["embeddings.norm"] = "embeddings.LayerNorm",
        ["encoder.layers.{n}.attention.query"] = "transformer.layer.{n}.attention.q_lin",
        ["encoder.layers.{n}.attention.key"] = "transformer.layer.{n}.attention.k_lin",
        ["encoder.layers.{n}.attention.value"] = "transformer.layer.{n}.attention.v_lin",
        ["encoder.layers.{n}.attention.output"] = "transformer.layer.{n}.attention.out_lin",
        ["encoder.layers.{n}.attention.form.query"] = "transformer.layer.{n}.attention.q_lin_global",
        ["encoder.layers.{n}.attention.form.key"] = "transformer.layer.{n}.attention.k_lin_global",
        ["encoder.layers.{n}.attention.form.value"] = "transformer.layer.{n}.attention.v_lin_global",
        ["encoder.layers.{n}.attention.form"] = "transformer.layer.{n}.attention.form",
        ["encoder.layers.{n}.attentionNorm"] = "transformer.layer.{n}.sa_layer_norm",
        ["encoder.layers.{n}.feedForward.inner"] = "transformer.layer.{n}.ffn.lin1",
        ["encoder.layers.{n}.feedForward.outer"] = "transformer.layer.{n}.ffn.lin2",
        ["encoder.layers.{n}.outputNorm"] = "transformer.layer.{n}.output_layer_norm",
    };
}
