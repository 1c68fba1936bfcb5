using TorchSharp;

namespace AttentionDistillation.Tests.Training;

/// <summary>
/// Trainings draw from libtorch's global generator, and interruption and progress are the process's: these tests run alone.
/// </summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class TrainingCollection : ICollectionFixture<OneThread>
{
    public const string Name = "Training";
}

/// <summary>
/// One libtorch thread while these tests run. Their models are so small that a second thread helps nothing, and where other programs use the
/// cores the threads' waiting for each other made 2,000 steps ten times slower.
/// </summary>
public sealed class OneThread : IDisposable
{
    private readonly int before = torch.get_num_threads();

    public OneThread() => torch.set_num_threads(1);

    public void Dispose() => torch.set_num_threads(before);
}
