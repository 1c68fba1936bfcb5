namespace AttentionDistillation.Tensors;

/// <summary>
/// Training data as a pure function of the step: the batch of a step depends on nothing but the source's seed and the step's number, so that a
/// training resumes exactly by asking for the next number.
/// </summary>
public interface IBatchSource
{
    /// <summary>The batch of a step, on the CPU; the caller disposes it.</summary>
    /// <param name="step">The step's number, from 0.</param>
    Batch BatchAt(long step);
}
