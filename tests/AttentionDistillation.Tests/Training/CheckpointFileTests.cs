using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

public sealed class CheckpointFileTests
{
    private static (string, Tensor)[] Tensors() =>
        [
            ("matrix", arange(12, ScalarType.Float32).view(3, 4).t()), // not contiguous
            ("low", tensor(1.5).to(ScalarType.BFloat16)),
            ("count", tensor(7L)),
            ("flags", tensor([true, false, true])),
            ("nothing", zeros(0, 3)),
        ];

    [Fact]
    public void ReadsBackToTheBit()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        CheckpointFile.Write(folder.At("a"), new Dictionary<string, string> { ["step"] = "7" }, Tensors());
        var (texts, tensors) = CheckpointFile.Read(folder.At("a"));
        Assert.Equal("7", texts["step"]);
        foreach (var (name, value) in Tensors())
        {
            Assert.Equal(value.dtype, tensors[name].dtype);
            Assert.Equal(value.shape, tensors[name].shape);
            Assert.Equal(value.contiguous().bytes.ToArray(), tensors[name].bytes.ToArray());
        }
        Assert.Equal([folder.At("a")], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void ATornFileIsRefusedWhereverItEnds()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        CheckpointFile.Write(folder.At("a"), new Dictionary<string, string>(), Tensors());
        byte[] whole = File.ReadAllBytes(folder.At("a"));
        for (int length = 0; length < whole.Length; length += 7)
        {
            File.WriteAllBytes(folder.At("torn"), whole[..length]);
            Assert.Contains("damaged", Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder.At("torn"))).Message);
        }
        File.WriteAllBytes(folder.At("torn"), [.. whole, 0]);
        Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder.At("torn")));
    }

    [Fact]
    public void AChangedByteIsNoticedAnywhere()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        CheckpointFile.Write(folder.At("a"), new Dictionary<string, string>(), Tensors());
        byte[] whole = File.ReadAllBytes(folder.At("a"));
        for (int at = 0; at < whole.Length; at += 11)
        {
            byte[] changed = [.. whole];
            changed[at] ^= 0x10;
            File.WriteAllBytes(folder.At("changed"), changed);
            Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder.At("changed")));
        }
    }

    [Fact]
    public void AnotherKindOfFileIsNamed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At("a"), "a letter to a friend, long enough");
        Assert.Contains(
            "no training checkpoint",
            Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder.At("a"))).Message
        );
    }
}
