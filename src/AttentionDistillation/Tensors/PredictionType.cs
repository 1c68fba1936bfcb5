namespace AttentionDistillation.Tensors;

/// <summary>What a denoiser's output stands for, with x_t = a x + s e, a^2 + s^2 = 1.</summary>
public enum PredictionType
{
    /// <summary>The noise e (Ho et al. 2020).</summary>
    Noise,

    /// <summary>The velocity a e - s x (Salimans and Ho, "Progressive Distillation", 2022, section 4).</summary>
    Velocity,

    /// <summary>The clean sample x.</summary>
    Clean,
}
