using AttentionDistillation.Runtime;

namespace AttentionDistillation.Tests.Runtime;

public sealed class AtomicFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("atomic-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private string At(params string[] parts) => Path.Combine([folder, .. parts]);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AFailedWriteLeavesTheOldFileAlone(bool soleWriter)
    {
        File.WriteAllText(At("a"), "old");
        var failure = Assert.Throws<InvalidOperationException>(() =>
            AtomicFile.Write(
                At("a"),
                stream =>
                {
                    stream.WriteByte(1);
                    throw new InvalidOperationException("disk full");
                },
                soleWriter
            )
        );
        Assert.Equal("disk full", failure.Message);
        Assert.Equal("old", File.ReadAllText(At("a")));
        Assert.Single(Directory.GetFiles(folder));
    }

    [Fact]
    public void TextIsUtf8WithoutAMarkAndFoldersAreMade()
    {
        AtomicFile.WriteText(At("below", "more", "a.txt"), "é\n");
        Assert.Equal([0xC3, 0xA9, 0x0A], File.ReadAllBytes(At("below", "more", "a.txt")));
        Assert.Single(Directory.GetFiles(At("below", "more")));
    }

    [Fact]
    public void UntilItIsCompleteTheOldFileIsRead()
    {
        AtomicFile.WriteText(At("a"), "old");
        AtomicFile.Write(
            At("a"),
            stream =>
            {
                stream.Write("new"u8);
                stream.Flush();
                Assert.Equal("old", File.ReadAllText(At("a")));
            }
        );
        Assert.Equal("new", File.ReadAllText(At("a")));
    }

    [Fact]
    public void TwoWritersAtOnceDoNotMeet()
    {
        AtomicFile.Write(
            At("a"),
            outer =>
            {
                outer.Write("outer"u8);
                AtomicFile.WriteText(At("a"), "inner");
            }
        );
        Assert.Equal("outer", File.ReadAllText(At("a")));
        Assert.Single(Directory.GetFiles(folder));
    }

    [Fact]
    public void ASoleWriterWritesOverWhatAKillLeftAndLeavesAnotherWritersFile()
    {
        string partial = At("a" + AtomicFile.PartialSuffix);
        File.WriteAllText(partial, "left by a process that was killed");
        AtomicFile.Write(At("a"), stream => stream.Write("new"u8), soleWriter: true);
        Assert.Equal("new", File.ReadAllText(At("a")));
        Assert.False(File.Exists(partial));

        using (new FileStream(partial, FileMode.Create, FileAccess.Write, FileShare.None))
        {
            Assert.Throws<IOException>(() => AtomicFile.Write(At("a"), _ => { }, soleWriter: true));
            Assert.True(File.Exists(partial));
        }
    }

    [Fact]
    public void AnEmptyPathIsRefused() => Assert.Throws<ArgumentException>(() => AtomicFile.WriteText("", "text"));
}
