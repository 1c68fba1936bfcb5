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
        CheckpointFile.Write(folder["a"], new Dictionary<string, string> { ["step"] = "7" }, Tensors());
        var (texts, tensors) = CheckpointFile.Read(folder["a"]);
        Assert.Equal("7", texts["step"]);
        foreach (var (name, value) in Tensors())
        {
            Assert.Equal(value.dtype, tensors[name].dtype);
            Assert.Equal(value.shape, tensors[name].shape);
            Assert.Equal(value.contiguous().bytes.ToArray(), tensors[name].bytes.ToArray());
        }
        Assert.Equal([folder["a"]], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void ATornFileIsRefusedWhereverItEnds()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        CheckpointFile.Write(folder["a"], new Dictionary<string, string>(), Tensors());
        byte[] whole = File.ReadAllBytes(folder["a"]);
        for (int length = 0; length < whole.Length; length += 7)
        {
            File.WriteAllBytes(folder["torn"], whole[..length]);
            Assert.Contains("damaged", Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder["torn"])).Message);
        }
        File.WriteAllBytes(folder["torn"], [.. whole, 0]);
        Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder["torn"]));
    }

    [Fact]
    public void AChangedByteIsNoticedAnywhere()
    {
        using var folder = new TemporaryFolder();
        using var scope = NewDisposeScope();
        CheckpointFile.Write(folder["a"], new Dictionary<string, string>(), Tensors());
        byte[] whole = File.ReadAllBytes(folder["a"]);
        for (int at = 0; at < whole.Length; at += 11)
        {
            byte[] changed = [.. whole];
            changed[at] ^= 0x10;
            File.WriteAllBytes(folder["changed"], changed);
            Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder["changed"]));
        }
    }

    [Fact]
    public void AnotherKindOfFileIsNamed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a"], "a letter to a friend, long enough");
        Assert.Contains(
            "no training checkpoint",
            Assert.Throws<InvalidDataException>(() => CheckpointFile.Read(folder["a"])).Message
        );
    }
}
