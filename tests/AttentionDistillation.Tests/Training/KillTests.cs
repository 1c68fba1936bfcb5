using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Training;

/// <summary>A training that is killed, again and again, ends with the bits of one that was left alone.</summary>
[Collection(TrainingCollection.Name)]
public sealed class KillTests
{
    [Fact]
    public void KilledAtAnyMomentItEndsWithTheSameBits()
    {
        using var untouched = new TemporaryFolder();
        using var killed = new TemporaryFolder();
        KilledTraining.RunChild(untouched.Path, kill: null);
        // Counted from each start: before the first checkpoint, while one is written, in a step, while one is written again, in a step.
        foreach (string moment in (string[])["1", KilledTraining.WhileWriting, "4", KilledTraining.WhileWriting, "2"])
        {
            Assert.NotEqual(0, KilledTraining.RunChild(killed.Path, moment));
            Assert.False(File.Exists(killed.At("weights")), $"The child ended before it was killed ({moment}).");
        }
        KilledTraining.RunChild(killed.Path, kill: null);
        Assert.Equal(KilledTraining.Result(untouched.Path), KilledTraining.Result(killed.Path));
    }

    [Fact]
    public void AKillWhileACheckpointIsWrittenLeavesTheOneBefore()
    {
        // The kill comes once the file is seen, so now and then the writing wins.
        for (int attempt = 1; ; attempt++)
        {
            using var folder = new TemporaryFolder();
            KilledTraining.RunChild(folder.Path, "5"); // leaves the checkpoint of step 3
            Assert.NotEqual(0, KilledTraining.RunChild(folder.Path, KilledTraining.WhileWriting));
            string[] files = [.. Directory.GetFiles(folder.Path, "step-*").Select(file => Path.GetFileName(file)).Order()];
            if (files.Length == 1 && attempt < 4)
                continue;
            Assert.Equal(["step-000000003.checkpoint", "step-000000006.checkpoint.partial"], files);
            return;
        }
    }
}
