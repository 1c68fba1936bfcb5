namespace AttentionDistillation.Tensors;

/// <summary>How much of what a model is given is padding.</summary>
public static class PaddingShare
{
    /// <summary>The share of a batch's tokens that is padding, from 0 to 1; 0 for a batch without a mask. Waits for the batch's device.</summary>
    public static double Of(Batch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var (padding, all) = Count(batch);
        return (double)padding / all;
    }

    /// <summary>The share of padding among the tokens of the first batches of a source.</summary>
    /// <param name="source">The batches.</param>
    /// <param name="steps">How many of them are counted, from step 0 on; at least 1.</param>
    public static double Of(IBatchSource source, long steps)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, 1);
        long padding = 0,
            all = 0;
        for (long step = 0; step < steps; step++)
        {
            using var batch = source.BatchAt(step);
            var (more, size) = Count(batch);
            padding += more;
            all += size;
        }
        return (double)padding / all;
    }

    private static (long Padding, long All) Count(Batch batch)
    {
        if (batch.Mask is not { } mask)
            return (0, batch.InputIds.numel());
        using var real = mask.sum(TorchSharp.torch.ScalarType.Int64);
        using var host = real.cpu();
        return (mask.numel() - host.item<long>(), mask.numel());
    }
}
