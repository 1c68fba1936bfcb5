namespace AttentionDistillation.Tests.Training;

/// <summary>
/// Trainings draw from libtorch's global generator, and interruption and progress are the process's: these tests run alone.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class TrainingCollection
{
    public const string Name = "Training";
}
