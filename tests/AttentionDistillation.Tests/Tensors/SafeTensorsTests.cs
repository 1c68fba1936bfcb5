using System.Buffers.Binary;
using System.Text;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Tensors;

public sealed class SafeTensorsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("safetensors-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData(ScalarType.Bool)]
    [InlineData(ScalarType.Byte)]
    [InlineData(ScalarType.Int8)]
    [InlineData(ScalarType.Int16)]
    [InlineData(ScalarType.Int32)]
    [InlineData(ScalarType.Int64)]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.ComplexFloat32)]
    public void EveryTypeSurvivesARoundTrip(ScalarType type)
    {
        using var scope = NewDisposeScope();
        var tensor = arange(12, dtype: ScalarType.Float32).reshape(3, 4).to(type);
        SafeTensorsWriter.Write(At("a"), [("x", tensor), ("scalar", tensor[0, 1]), ("empty", tensor[TensorIndex.Slice(0, 0)])]);
        using var file = SafeTensorsFile.Open(At("a"));
        using var read = file.Read("x");
        Assert.Equal(type, read.dtype);
        Assert.True(read.eq(tensor).all().ToBoolean());
        Assert.Empty(file.Read("scalar").shape);
        Assert.Equal([0L, 4L], file.Read("empty").shape);
    }

    [Fact]
    public void TypesThatTorchLacksAreReadAsBytes()
    {
        WriteRaw(
            "a",
            """{"x":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},"y":{"dtype":"F4","shape":[4],"data_offsets":[4,6]}}""",
            [1, 2, 3, 4, 5, 6]
        );
        using var file = SafeTensorsFile.Open(At("a"));
        Assert.Equal([1, 2, 3, 4], file.Bytes("x").ToArray());
        Assert.Equal([5, 6], file.Bytes("y").ToArray());
        Assert.Contains("F8_E4M3", Assert.Throws<NotSupportedException>(() => file.Read("x")).Message);
    }

    [Fact]
    public void NanPayloadsAreKeptToTheBit()
    {
        byte[] payloads = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(payloads, 0x7F800001); // signalling
        BinaryPrimitives.WriteUInt32LittleEndian(payloads.AsSpan(4), 0xFFC0BEEF); // quiet, negative, with a payload
        BinaryPrimitives.WriteUInt32LittleEndian(payloads.AsSpan(8), 0x7FFFFFFF);
        WriteRaw("a", """{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}""", payloads);
        using var file = SafeTensorsFile.Open(At("a"));
        using var tensor = file.Read("x");
        SafeTensorsWriter.Write(At("b"), [("x", tensor)]);
        using var copy = SafeTensorsFile.Open(At("b"));
        Assert.Equal(payloads, copy.Bytes("x").ToArray());
    }

    [Fact]
    public void MetadataAlignmentAndOrderAreDeterministic()
    {
        using var scope = NewDisposeScope();
        (string, Tensor)[] tensors =
        [
            ("b", ones(3, dtype: ScalarType.Byte)),
            ("z", ones(2, dtype: ScalarType.Float64)),
            ("a", ones(2, dtype: ScalarType.Float32).t()),
        ];
        var metadata = new Dictionary<string, string> { ["note"] = "ä \"quoted\"", ["format"] = "pt" };
        SafeTensorsWriter.Write(At("a"), tensors, metadata);
        SafeTensorsWriter.Write(At("b"), tensors.Reverse(), metadata.Reverse().ToDictionary());
        byte[] bytes = File.ReadAllBytes(At("a"));
        Assert.Equal(bytes, File.ReadAllBytes(At("b")));
        Assert.Equal(0, BinaryPrimitives.ReadInt64LittleEndian(bytes) % 8);
        using var file = SafeTensorsFile.Open(At("a"));
        Assert.Equal(metadata.OrderBy(pair => pair.Key), file.Metadata.OrderBy(pair => pair.Key));
        Assert.Equal(["z", "a", "b"], file.Entries.Values.OrderBy(entry => entry.Offset).Select(entry => entry.Name));
        Assert.Equal([At("a"), At("b")], Directory.GetFiles(folder).Order());
    }

    [Fact]
    public void NonContiguousTensorsAreWrittenRowByRow()
    {
        using var scope = NewDisposeScope();
        var tensor = arange(6, dtype: ScalarType.Int64).reshape(2, 3);
        SafeTensorsWriter.Write(At("a"), [("x", tensor.t())]);
        using var file = SafeTensorsFile.Open(At("a"));
        Assert.Equal([0L, 3, 1, 4, 2, 5], file.Read("x").data<long>().ToArray());
    }

    [Fact]
    public void AFailedWriteLeavesTheOldFile()
    {
        File.WriteAllText(At("a"), "old");
        Assert.Throws<InvalidOperationException>(() =>
            AtomicFile.Write(At("a"), _ => throw new InvalidOperationException("disk full"))
        );
        Assert.Equal("old", File.ReadAllText(At("a")));
        Assert.Single(Directory.GetFiles(folder));
    }

    [Fact]
    public void FilesAndOffsetsBeyondTwoGigabytesAreRead()
    {
        // A sparse file: 3 GiB of zeros that take no room, then four bytes.
        const long large = 3L << 30;
        string header =
            $$$"""{"large":{"dtype":"U8","shape":[{{{large}}}],"data_offsets":[0,{{{large}}}]},"last":{"dtype":"F32","shape":[1],"data_offsets":[{{{large}}},{{{large + 4}}}]}}""";
        WriteRaw("a", header, []);
        using (var stream = File.OpenWrite(At("a")))
        {
            stream.Seek(8 + header.Length + large - 1, SeekOrigin.Begin);
            stream.WriteByte(7);
            stream.Write(BitConverter.GetBytes(1.5f));
        }
        using var file = SafeTensorsFile.Open(At("a"));
        using var last = file.Read("last");
        Assert.Equal(1.5f, last.ToSingle());
        Assert.Equal(7, file.Bytes("large", large - 1, 1)[0]);
        Assert.Throws<NotSupportedException>(() => file.Bytes("large"));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Bytes("large", large, 1));
    }

    [Theory]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 4, "truncated")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 8, "follow the last tensor")]
    [InlineData("""[1, 2]""", 0, "not JSON")]
    [InlineData("""{"x":""", 0, "not JSON")]
    [InlineData(
        """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""",
        2,
        "twice"
    )]
    [InlineData("""{"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, "twice")]
    [InlineData("""{"__metadata__":{"a":"1","a":"2"}}""", 0, "twice")]
    [InlineData("""{"__metadata__":{"a":1}}""", 0, "must be a string")]
    [InlineData(
        """{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}""",
        3,
        "overlaps"
    )]
    [InlineData(
        """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}""",
        3,
        "hole"
    )]
    [InlineData("""{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2, "hole")]
    [InlineData("""{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", 4, "8 bytes")]
    [InlineData("""{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "-1")]
    [InlineData("""{"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}""", 4, "1.5")]
    [InlineData("""{"x":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "overflows")]
    [InlineData("""{"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}""", 4, "F99")]
    [InlineData("""{"x":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}""", 1, "whole number of bytes")]
    [InlineData("""{"x":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}""", 1, "[begin, end]")]
    [InlineData("""{"x":{"dtype":"U8","shape":[1]}}""", 1, "data_offsets")]
    [InlineData("""{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1}}""", 1, "extra")]
    [InlineData("""{"x":3}""", 0, "not by an object")]
    public void BrokenFilesAreRefused(string header, int dataBytes, string reason)
    {
        WriteRaw("a", header, new byte[dataBytes]);
        Assert.Contains(reason, Assert.Throws<SafeTensorsException>(() => SafeTensorsFile.Open(At("a"))).Message);
    }

    [Theory]
    [InlineData(100_000_001L, "the format allows")]
    [InlineData(-1L, "the format allows")]
    [InlineData(1_000L, "truncated")]
    public void HeaderLengthsThatCannotBeAreRefused(long length, string reason)
    {
        File.WriteAllBytes(At("a"), [.. BitConverter.GetBytes(length), .. "{}"u8]);
        Assert.Contains(reason, Assert.Throws<SafeTensorsException>(() => SafeTensorsFile.Open(At("a"))).Message);
    }

    [Fact]
    public void ShortAndAbsentFilesAreRefused()
    {
        File.WriteAllBytes(At("a"), [1, 2, 3]);
        Assert.Contains("3 bytes", Assert.Throws<SafeTensorsException>(() => SafeTensorsFile.Open(At("a"))).Message);
        Assert.Throws<FileNotFoundException>(() => SafeTensorsFile.Open(At("none")));
    }

    [Theory]
    [InlineData("pytorch_model.bin", new byte[] { (byte)'P', (byte)'K', 3, 4, 0, 0, 0, 0, 0, 0 })]
    [InlineData("model.safetensors", new byte[] { 0x80, 2, (byte)'}', 0, 0, 0, 0, 0, 0, 0 })]
    [InlineData("model.pt", new byte[] { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 })]
    public void PicklesAreRefusedWithReasonAndRemedy(string name, byte[] content)
    {
        File.WriteAllBytes(At(name), content);
        string message = Assert.Throws<SafeTensorsException>(() => SafeTensorsFile.Open(At(name))).Message;
        Assert.Contains("code", message);
        Assert.Contains("save_file", message);
    }

    [Fact]
    public void AFolderWithOnlyAPickleIsRefusedAsOne()
    {
        File.WriteAllBytes(At("pytorch_model.bin"), "PK\u0003\u0004"u8.ToArray());
        Assert.Contains("pickle", Assert.Throws<SafeTensorsException>(() => Checkpoint.Open(folder)).Message);
    }

    [Fact]
    public void AHeaderLengthThatLooksLikeAPickleIsNoPickle()
    {
        // 0x0280 = 640 bytes of header: its first bytes are a pickle's.
        string json = """{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""".PadRight(0x0280);
        WriteRaw("a", json, [9]);
        using var file = SafeTensorsFile.Open(At("a"));
        Assert.Equal(9, file.Bytes("x")[0]);
    }

    [Fact]
    public void UnknownNamesAreAnsweredWithSimilarOnes()
    {
        using var tensor = ones(1);
        SafeTensorsWriter.Write(At("a"), [("encoder.layer.0.weight", tensor), ("bias", tensor)]);
        using var file = SafeTensorsFile.Open(At("a"));
        Assert.Contains("encoder.layer.0.weight", Assert.Throws<KeyNotFoundException>(() => file.Read("layer.0.weight")).Message);
    }

    [Fact]
    public void ShardsAreReadAsOneCheckpoint()
    {
        using var scope = NewDisposeScope();
        WriteShards("""{"metadata":{"total_size":8},"weight_map":{"x":"s1.safetensors","y":"s2.safetensors"}}""");
        using var checkpoint = Checkpoint.Open(folder);
        Assert.Equal(["x", "y"], checkpoint.Entries.Keys.Order());
        Assert.Equal(2f, checkpoint.Read("y").ToSingle());
        Assert.Equal(ScalarType.Float64, checkpoint.Read("x", dtype: ScalarType.Float64).dtype);
    }

    [Theory]
    [InlineData("""{"weight_map":{"x":"s1.safetensors","y":"s3.safetensors"}}""", "s3.safetensors")]
    [InlineData(
        """{"weight_map":{"x":"s1.safetensors","y":"s2.safetensors","z":"s2.safetensors"}}""",
        "z (not in s2.safetensors)"
    )]
    [InlineData("""{"weight_map":{"x":"s1.safetensors","w":"s1.safetensors"}}""", "w (not in s1.safetensors)")]
    [InlineData("""{"weight_map":{"x":"../s1.safetensors"}}""", "no file name")]
    [InlineData("""{"weight_map":3}""", "weight_map")]
    [InlineData("""{""", "not JSON")]
    public void BrokenIndexesAreRefused(string index, string reason)
    {
        WriteShards(index);
        Assert.Contains(reason, Assert.Throws<SafeTensorsException>(() => Checkpoint.Open(folder)).Message);
    }

    private void WriteShards(string index)
    {
        using var scope = NewDisposeScope();
        SafeTensorsWriter.Write(At("s1.safetensors"), [("x", ones(1))]);
        SafeTensorsWriter.Write(At("s2.safetensors"), [("y", ones(1) * 2)]);
        File.WriteAllText(At(Checkpoint.IndexFile), index);
    }

    private string At(string name) => Path.Combine(folder, name);

    private void WriteRaw(string name, string header, byte[] data)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        File.WriteAllBytes(At(name), [.. BitConverter.GetBytes((long)json.Length), .. json, .. data]);
    }
}
