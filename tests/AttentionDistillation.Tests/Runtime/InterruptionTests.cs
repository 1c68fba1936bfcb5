using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Training;

namespace AttentionDistillation.Tests.Runtime;

[Collection(TrainingCollection.Name)]
public sealed class InterruptionTests
{
    [Fact]
    public void ARequestLastsUntilItIsCleared()
    {
        Interruption.Clear();
        Interruption.ThrowIfRequested();
        try
        {
            Interruption.Request();
            Assert.True(Interruption.Requested);
            Assert.Throws<OperationCanceledException>(Interruption.ThrowIfRequested);
            Assert.Throws<OperationCanceledException>(Interruption.ThrowIfRequested);
        }
        finally
        {
            Interruption.Clear();
        }
        Assert.False(Interruption.Requested);
        Interruption.ThrowIfRequested();
    }
}
