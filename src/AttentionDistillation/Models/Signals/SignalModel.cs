using AttentionDistillation.Attention;

namespace AttentionDistillation.Models.Signals;

/// <summary>A model of complex baseband bursts: takes <c>signals</c> [B, 2, L] (in phase, quadrature), gives scores [B, classes].</summary>
public abstract class SignalModel : TensorModel
{
    /// <summary>The name of the samples in a batch.</summary>
    public const string Signals = "signals";

    /// <summary>The feature that holds what the last layer sees, [B, C].</summary>
    public const string PooledFeatures = "pooled_features";

    private protected SignalModel(TraceCapabilities capabilities)
        : base(capabilities, Signals, [-1, 2, -1], "Convert them and scale each burst to a mean power of 1.") { }
}
