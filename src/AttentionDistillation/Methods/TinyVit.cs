using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// TinyViT (arXiv 2207.10666, ECCV 2022): distillation in pretraining at no cost of a teacher. The teacher runs once; of each augmented image its K most
/// probable classes are kept, with the seed of the augmentation. The student replays the augmentation and learns the label that is rebuilt from them.
/// </summary>
/// <remarks>
/// Kept probabilities v_k of classes i_k, all others r = (1 - Σ v) / (V - K); L = mean over images of -Σ_c t_c ln softmax(s)_c, without temperature and
/// without the images' labels. Records: <see cref="SparseLabelRecord"/>; on the disk: <see cref="SparseLabelStore"/>. The models:
/// <see cref="HierarchicalConfig.TinyVit5M"/> and its kin.
/// </remarks>
public static class TinyVit
{
    /// <summary>The K most probable classes of a teacher, the most probable first. Computed in float64, so that devices agree on what is stored.</summary>
    /// <param name="logits">[B, V]; receives no gradient.</param>
    /// <param name="kept">K, 1 to V.</param>
    /// <param name="half">Whether the probabilities are rounded to float16, as a record holds them; their sum may then exceed 1 by about 1e-4.</param>
    /// <returns>Probabilities [B, K] in the logits' type (at least float32), class numbers int64 [B, K].</returns>
    /// <exception cref="ArgumentException">K is out of range, or the shape does not fit.</exception>
    public static (Tensor Values, Tensor Indices) SoftLabel(Tensor logits, int kept, bool half = false)
    {
        Shapes.Require(logits, "[B, V]");
        if (kept < 1 || kept > logits.size(1))
            throw new ArgumentException(
                $"{kept} classes cannot be kept of {logits.size(1)}. Keep 1 to {logits.size(1)}.",
                nameof(kept)
            );
        using var scope = NewDisposeScope();
        var (values, indices) = logits.detach().to(ScalarType.Float64).softmax(-1).topk(kept, -1);
        if (half)
            values = values.to(ScalarType.Float32).to(ScalarType.Float16);
        values = values.to(logits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
        return (values.MoveToOuterDisposeScope(), indices.MoveToOuterDisposeScope());
    }

    /// <summary>The whole label: kept classes as they are, the rest of the mass spread evenly over all others.</summary>
    /// <param name="values">[B, K].</param>
    /// <param name="indices">int64 [B, K], different classes in each row.</param>
    /// <param name="classes">V, at least K.</param>
    /// <returns>[B, V]; rows sum to 1 unless K = V and values were rounded. Entries may be negative by about 1e-4 where rounding took the sum above 1.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Rebuild(Tensor values, Tensor indices, long classes)
    {
        Check(values, indices, classes);
        using var scope = NewDisposeScope();
        var rest = Rest(values, classes);
        return rest.expand(-1, classes).clone().scatter(1, indices, values).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The loss from sparse labels, without building the whole one: the mean of -[Σ_k (v_k - r) l_k + r Σ_c l_c] with l = ln softmax(student). It and its
    /// gradient, softmax Σ t - t over B, are those of the rebuilt label.
    /// </summary>
    /// <param name="student">[B, V].</param>
    /// <param name="values">[B, K]; receives no gradient.</param>
    /// <param name="indices">int64 [B, K], different classes in each row.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Loss(Tensor student, Tensor values, Tensor indices)
    {
        Shapes.Require(student, "[B, V]");
        Check(values, indices, student.size(1));
        Shapes.RequireSame(student, values, 0, "number of images");
        using var scope = NewDisposeScope();
        var scores = student.dtype == ScalarType.Float64 ? student : student.to(ScalarType.Float32);
        var logs = nn.functional.log_softmax(scores, -1);
        var kept = values.detach().to(logs.dtype);
        var rest = Rest(kept, student.size(1));
        var rows = ((kept - rest) * logs.gather(1, indices)).sum(-1) + rest.squeeze(1) * logs.sum(-1);
        return rows.mean().neg().MoveToOuterDisposeScope();
    }

    /// <summary>Runs a teacher over an epoch of augmented images and stores its labels.</summary>
    /// <param name="teacher">Its output is scores [B, V]; runs in evaluation mode where its weights are, and is put back into its mode.</param>
    /// <param name="store">Receives the epoch, whole or not at all.</param>
    /// <param name="epoch">Its number, from 0.</param>
    /// <param name="batches">
    /// All images in the order of their numbers, with <c>pixel_values</c>, <c>augmentation_seed</c> and <c>image_checksum</c> (the world's
    /// <c>ImageReplay.Epoch</c>); each batch is freed.
    /// </param>
    /// <exception cref="ArgumentException">The teacher has another number of classes than the store, or there are more or fewer images.</exception>
    /// <inheritdoc cref="SparseLabelStore.WriteEpoch"/>
    public static void Label(ImageModel teacher, SparseLabelStore store, int epoch, IEnumerable<Batch> batches)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(batches);
        bool training = teacher.training;
        var device = teacher.parameters().First().device;
        teacher.eval();
        try
        {
            store.WriteEpoch(epoch, batches.Select(Labelled));
        }
        finally
        {
            teacher.train(training);
        }

        SparseLabels Labelled(Batch batch)
        {
            using var owned = batch;
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            var logits = teacher.call(batch[ImageModel.PixelValues].to(device), null);
            if (logits.dim() != 2 || logits.size(1) != store.Description.Classes)
                throw new ArgumentException(
                    $"The teacher's output is {Shapes.Describe(logits)}, but the store is for {store.Description.Classes} classes. Describe the store with the teacher's."
                );
            var (values, indices) = SoftLabel(logits, store.Description.Kept);
            return new(
                values.cpu().MoveToOuterDisposeScope(),
                indices.cpu().MoveToOuterDisposeScope(),
                batch["augmentation_seed"].clone().MoveToOuterDisposeScope(),
                batch["image_checksum"].clone().MoveToOuterDisposeScope()
            );
        }
    }

    // r, [B, 1]; no class is left over where all are kept.
    private static Tensor Rest(Tensor values, long classes) =>
        values.size(1) == classes
            ? zeros_like(values.narrow(1, 0, 1))
            : (1 - values.sum(-1, keepdim: true)) / (classes - values.size(1));

    private static void Check(Tensor values, Tensor indices, long classes)
    {
        Shapes.Require(values, "[B, K]");
        Shapes.RequireExact(indices, values.shape);
        if (values.size(1) < 1 || values.size(1) > classes)
            throw new ArgumentException(
                $"{values.size(1)} classes are kept of {classes}. There must be at least one, and not more than there are classes.",
                nameof(values)
            );
    }
}
