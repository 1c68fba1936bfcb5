using System.Diagnostics;
using System.Runtime.CompilerServices;
using AttentionDistillation.Attention;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>
/// A training in a process of its own, to be killed: this test program, started with <see cref="FolderVariable"/>, trains and ends without
/// running a test.
/// </summary>
internal static class KilledTraining
{
    /// <summary>Where the child keeps its checkpoints and, at its end, its weights.</summary>
    public const string FolderVariable = "TRAINING_TEST_FOLDER";

    /// <summary>When the child kills itself: at a step's number; nothing and other words mean never.</summary>
    public const string KillVariable = "TRAINING_TEST_KILL";

    /// <summary>Asks <see cref="RunChild"/> to kill the child while it writes a checkpoint.</summary>
    public const string WhileWriting = "writing";

    private const string ResultName = "weights";

    // Wide enough (about 9 MB of weights, averages and optimiser state) that writing a checkpoint takes long enough to be killed in.
    private const int Width = 360;

    private static TrainingOptions Options(string folder) =>
        TrainingScene.Options(folder) with
        {
            Steps = 16,
            CheckpointEvery = 3,
        };

#pragma warning disable CA2255 // A child must act before the test framework reads its command line.
    [ModuleInitializer]
    internal static void RunAsChild()
    {
        if (Environment.GetEnvironmentVariable(FolderVariable) is not { } folder)
            return;
        Train(folder, Environment.GetEnvironmentVariable(KillVariable));
        Environment.Exit(0);
    }
#pragma warning restore CA2255

    /// <summary>Trains to the end, and leaves the final weights, averages and curve in one file.</summary>
    public static void Train(string folder, string? kill)
    {
        using var model = new TinyTransformer(1, layers: 1, width: Width);
        int step = 0;
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) =>
            {
                if (step++.ToString() == kill)
                    KillSelf();
                return TinyLosses.NextNumber(trace, batch);
            },
            Options(folder)
        );
        var result = trainer.Run(new CountingBatches(3));
        CheckpointFile.Write(
            Path.Combine(folder, ResultName),
            new Dictionary<string, string> { ["curve"] = string.Join("; ", result.Curve.Points) },
            [
                .. model.state_dict().Select(item => (item.Key, item.Value)),
                .. trainer.Average!.Values.Select(item => ($"average.{item.Name}", item.Value)),
            ]
        );
    }

    /// <summary>Runs the child, kills it when asked to, and returns its exit code.</summary>
    public static int RunChild(string folder, string? kill)
    {
        // One thread, as the tests that run in this process: see OneThread.
        var start = TestProgram.With((FolderVariable, folder), (KillVariable, kill), ("OMP_NUM_THREADS", "1"));
        using var child = Process.Start(start)!;
        var errors = child.StandardError.ReadToEndAsync();
        if (kill == WhileWriting)
        {
            while (!child.HasExited && Directory.GetFiles(folder, "*" + AtomicFile.PartialSuffix).Length == 0)
                Thread.SpinWait(1_000);
            child.Kill();
        }
        child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        if (child.ExitCode != 0 && kill is null)
            throw new InvalidOperationException($"The child failed: {errors.Result}");
        return child.ExitCode;
    }

    /// <summary>What a finished child left: all bytes of weights, averages and curve, with their names.</summary>
    public static byte[] Result(string folder) => File.ReadAllBytes(Path.Combine(folder, ResultName));

    // SIGKILL (TerminateProcess on Windows): nothing of this process runs afterwards.
    private static void KillSelf()
    {
        using var self = Process.GetCurrentProcess();
        self.Kill();
        Thread.Sleep(Timeout.Infinite);
    }
}
