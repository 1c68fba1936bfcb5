using System.Globalization;
using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Training;

/// <summary>
/// The folder of one training's checkpoints, <c>step-000000500.checkpoint</c>. The older file goes only after the newer one is whole under its
/// name, so a kill at any moment leaves a whole one. One process at a time: a lock file says so, and the system lifts it when the process ends.
/// </summary>
internal sealed class CheckpointStore : IDisposable
{
    private const string Pattern = "step-*.checkpoint";
    private readonly string folder;
    private readonly FileStream key;

    /// <exception cref="InvalidOperationException">Another training uses the folder.</exception>
    /// <exception cref="IOException">The folder cannot be made or written.</exception>
    public CheckpointStore(string folder)
    {
        this.folder = Path.GetFullPath(folder);
        try
        {
            Directory.CreateDirectory(this.folder);
            key = OpenLock(Path.Combine(this.folder, "lock"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new IOException(
                $"The checkpoint folder '{this.folder}' cannot be made or written: {error.Message} Name another CheckpointFolder.",
                error
            );
        }
        foreach (string leftover in Directory.GetFiles(this.folder, Pattern + AtomicFile.PartialSuffix))
            File.Delete(leftover);
    }

    /// <summary>The newest whole file's path, or null.</summary>
    public string? Latest => Files().LastOrDefault();

    public void Write(
        long step,
        IReadOnlyDictionary<string, string> texts,
        IReadOnlyList<(string Name, torch.Tensor Value)> tensors
    )
    {
        string path = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"step-{step:D9}.checkpoint"));
        CheckpointFile.Write(path, texts, tensors);
        foreach (string older in Files().Where(file => file != path))
            File.Delete(older);
    }

    public void Dispose() => key.Dispose();

    private FileStream OpenLock(string path)
    {
        bool existed = File.Exists(path);
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException error) when (existed)
        {
            throw new InvalidOperationException(
                $"Another training is using the checkpoint folder '{folder}'. Wait for it, stop it, or name another CheckpointFolder.",
                error
            );
        }
    }

    // Nine digits and more sort by length first, then by letters.
    private IEnumerable<string> Files() =>
        Directory.GetFiles(folder, Pattern).OrderBy(file => file.Length).ThenBy(file => file, StringComparer.Ordinal);
}
