namespace AttentionDistillation.Tensors;

/// <summary>Opens checkpoints, whether they are one file or several.</summary>
public static class Checkpoint
{
    /// <summary>The file of an unsharded checkpoint.</summary>
    public const string SingleFile = "model.safetensors";

    /// <summary>The index of a sharded checkpoint.</summary>
    public const string IndexFile = "model.safetensors.index.json";

    /// <summary>What the names of a checkpoint's files begin with: transformers' way, then diffusers'.</summary>
    public static IReadOnlyList<string> Stems { get; } = ["model", "diffusion_pytorch_model"];

    /// <summary>
    /// Opens a safetensors file, an index, or a folder that holds <see cref="SingleFile"/> or <see cref="IndexFile"/> (or diffusers' files, which
    /// begin with <c>diffusion_pytorch_model</c>).
    /// </summary>
    /// <param name="path">The file or folder.</param>
    /// <exception cref="FileNotFoundException">There is no such file or folder, or the folder holds no checkpoint.</exception>
    /// <exception cref="SafeTensorsException">The checkpoint is broken, or is a pickle.</exception>
    public static ICheckpoint Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!Directory.Exists(path))
            return path.EndsWith(".json", StringComparison.OrdinalIgnoreCase) && File.Exists(path)
                ? ShardedSafeTensors.Open(path)
                : SafeTensorsFile.Open(path);
        foreach (string stem in Stems)
        {
            string file = Path.Combine(path, stem + SingleFile["model".Length..]);
            if (File.Exists(file))
                return SafeTensorsFile.Open(file);
            string index = Path.Combine(path, stem + IndexFile["model".Length..]);
            if (File.Exists(index))
                return ShardedSafeTensors.Open(index);
        }
        string? pickle = Directory
            .EnumerateFiles(path, "*.bin")
            .Concat(Directory.EnumerateFiles(path, "*.pt"))
            .Order()
            .FirstOrDefault();
        throw pickle is not null
            ? PickleFiles.Refusal(pickle)
            : new FileNotFoundException($"'{path}' holds neither {SingleFile} nor {IndexFile}.", Path.Combine(path, SingleFile));
    }
}
