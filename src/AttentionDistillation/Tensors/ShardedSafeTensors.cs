using System.Text.Json;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>A checkpoint in several safetensors files with an index (<c>model.safetensors.index.json</c>) that says which tensor lies where.</summary>
public sealed class ShardedSafeTensors : ICheckpoint
{
    private readonly Dictionary<string, SafeTensorsFile> shards;
    private readonly Dictionary<string, SafeTensorsFile> shardOf = new(StringComparer.Ordinal);

    private ShardedSafeTensors(string path, Dictionary<string, SafeTensorsFile> shards, Dictionary<string, string> weightMap)
    {
        (Path, this.shards) = (path, shards);
        var entries = new Dictionary<string, SafeTensorsEntry>(StringComparer.Ordinal);
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, file) in weightMap)
        {
            shardOf[name] = shards[file];
            entries[name] = shards[file].Entries[name];
        }
        foreach (var (key, value) in shards.Values.SelectMany(shard => shard.Metadata))
            metadata.TryAdd(key, value);
        (Entries, Metadata) = (entries, metadata);
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, SafeTensorsEntry> Entries { get; }

    /// <summary>Opens every shard that an index names and checks that the tensors are where it says.</summary>
    /// <param name="indexPath">The index, JSON with a <c>weight_map</c> from tensor names to file names.</param>
    /// <exception cref="SafeTensorsException">The index is invalid, a shard is missing or broken, or a tensor is not in its shard.</exception>
    public static ShardedSafeTensors Open(string indexPath)
    {
        var weightMap = ReadIndex(indexPath);
        string folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(indexPath))!;
        string[] files = [.. weightMap.Values.Distinct().Order(StringComparer.Ordinal)];
        string[] missing = [.. files.Where(file => !File.Exists(System.IO.Path.Combine(folder, file)))];
        if (missing.Length > 0)
            throw new SafeTensorsException(
                $"'{indexPath}' names {files.Length} shards, of which {missing.Length} are missing beside it: {string.Join(", ", missing)}. Copy or download them."
            );
        var shards = new Dictionary<string, SafeTensorsFile>(StringComparer.Ordinal);
        try
        {
            foreach (string file in files)
                shards[file] = SafeTensorsFile.Open(System.IO.Path.Combine(folder, file));
            CheckPlaces(indexPath, weightMap, shards);
            return new ShardedSafeTensors(indexPath, shards, weightMap);
        }
        catch
        {
            foreach (var shard in shards.Values)
                shard.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public Tensor Read(string name, Device? device = null, ScalarType? dtype = null) => ShardOf(name).Read(name, device, dtype);

    /// <inheritdoc/>
    public void CopyTo(string name, Tensor destination) => ShardOf(name).CopyTo(name, destination);

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Bytes(string name, long offset, int length) => ShardOf(name).Bytes(name, offset, length);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var shard in shards.Values)
            shard.Dispose();
    }

    private SafeTensorsFile ShardOf(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return shardOf.TryGetValue(name, out var shard) ? shard : throw SafeTensorsFile.NoSuchTensor(Path, name, Entries.Keys);
    }

    private static Dictionary<string, string> ReadIndex(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path));
            if (
                document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("weight_map", out var map)
                || map.ValueKind != JsonValueKind.Object
            )
                throw new SafeTensorsException(
                    $"'{path}' has no object 'weight_map', so it is no index of a sharded checkpoint."
                );
            var weightMap = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var property in map.EnumerateObject())
            {
                string? file = property.Value.ValueKind == JsonValueKind.String ? property.Value.GetString() : null;
                // A bare file name only: an index from elsewhere must not reach outside its own folder.
                if (string.IsNullOrEmpty(file) || file.IndexOfAny(['/', '\\']) >= 0 || file is "." or "..")
                    throw new SafeTensorsException(
                        $"'{path}' places the tensor '{property.Name}' in {property.Value.GetRawText()}, which is no file name."
                    );
                if (!weightMap.TryAdd(property.Name, file))
                    throw new SafeTensorsException($"'{path}' names the tensor '{property.Name}' twice.");
            }
            return weightMap;
        }
        catch (JsonException error)
        {
            throw new SafeTensorsException($"'{path}' is not JSON: {error.Message}", error);
        }
    }

    private static void CheckPlaces(string path, Dictionary<string, string> weightMap, Dictionary<string, SafeTensorsFile> shards)
    {
        string[] absent =
        [
            .. weightMap
                .Where(pair => !shards[pair.Value].Entries.ContainsKey(pair.Key))
                .Select(pair => $"{pair.Key} (not in {pair.Value})"),
        ];
        string[] unlisted =
        [
            .. shards.SelectMany(shard =>
                shard
                    .Value.Entries.Keys.Where(name => weightMap.GetValueOrDefault(name) != shard.Key)
                    .Select(name => $"{name} (in {shard.Key})")
            ),
        ];
        if (absent.Length > 0)
            throw new SafeTensorsException(
                $"'{path}' names {absent.Length} tensors that their shards do not hold: {string.Join(", ", absent)}. Index and shards do not belong together."
            );
        if (unlisted.Length > 0)
            throw new SafeTensorsException(
                $"The shards of '{path}' hold {unlisted.Length} tensors that the index does not place there: {string.Join(", ", unlisted)}. Index and shards do not belong together."
            );
    }
}
