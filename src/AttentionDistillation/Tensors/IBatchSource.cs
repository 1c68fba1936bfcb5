namespace AttentionDistillation.Tensors;

/// <summary>
/// Training data as a pure function of the step: the batch of a step depends on nothing but the source's seed and the step's number, so that a
/// training resumes exactly by asking for the next number.
/// </summary>
/// <remarks>
/// A training may ask for the batches of coming steps on a thread of its own (<c>TrainingOptions.Prefetch</c>), one call at a time: a source must not read what
/// the training changes, and draws from a generator of its own, never from libtorch's global one.
/// </remarks>
public interface IBatchSource
{
    /// <summary>The batch of a step, on the CPU; the caller disposes it.</summary>
    /// <param name="step">The step's number, from 0.</param>
    Batch BatchAt(long step);
}
