using System;
using System.IO;
using System.Text;
using Microsoft.Build.Framework;
using Microsoft.Build.Utilities;

/// <summary>Build task: copies a 64-bit little-endian ELF library and marks one needed symbol version as weak (VER_FLG_WEAK).</summary>
public class WeakenSymbolVersion : Task
{
    const uint SectionTypeVersionNeed = 0x6ffffffe; // SHT_GNU_verneed
    const ushort WeakFlag = 2; // VER_FLG_WEAK

    public string Source { get; set; }
    public string Destination { get; set; }
    public string VersionName { get; set; }

    public override bool Execute()
    {
        byte[] elf = File.ReadAllBytes(Source);
        if (elf.Length < 64 || BitConverter.ToUInt32(elf, 0) != 0x464c457f || elf[4] != 2 || elf[5] != 1)
        {
            Log.LogError("{0} is not a 64-bit little-endian ELF library.", Source);
            return false;
        }
        long sections = BitConverter.ToInt64(elf, 0x28);
        int size = BitConverter.ToUInt16(elf, 0x3a),
            count = BitConverter.ToUInt16(elf, 0x3c);
        int marked = 0;
        for (int i = 0; i < count; i++)
        {
            int header = checked((int)(sections + (long)i * size));
            if (BitConverter.ToUInt32(elf, header + 4) != SectionTypeVersionNeed)
                continue;
            int need = checked((int)BitConverter.ToInt64(elf, header + 24));
            int link = checked((int)(sections + (long)BitConverter.ToUInt32(elf, header + 40) * size));
            int names = checked((int)BitConverter.ToInt64(elf, link + 24));
            marked += MarkFile(elf, need, names);
        }
        Directory.CreateDirectory(Path.GetDirectoryName(Destination));
        string partial = Destination + "." + Guid.NewGuid().ToString("N");
        File.WriteAllBytes(partial, elf);
        if (File.Exists(Destination))
            File.Delete(Destination);
        File.Move(partial, Destination);
        Log.LogMessage(MessageImportance.Normal, "{0}: {1} need(s) of {2} marked weak.", Destination, marked, VersionName);
        return true;
    }

    // Walks Elf64_Verneed (vn_cnt at 2, vn_aux at 8, vn_next at 12) and its Elf64_Vernaux (vna_flags at 4, vna_name at 8, vna_next at 12).
    int MarkFile(byte[] elf, int need, int names)
    {
        int marked = 0;
        while (true)
        {
            int aux = need + BitConverter.ToInt32(elf, need + 8);
            for (int left = BitConverter.ToUInt16(elf, need + 2); left > 0; left--)
            {
                int at = names + BitConverter.ToInt32(elf, aux + 8),
                    end = Array.IndexOf(elf, (byte)0, at);
                if (Encoding.ASCII.GetString(elf, at, end - at) == VersionName)
                {
                    ushort flags = (ushort)(BitConverter.ToUInt16(elf, aux + 4) | WeakFlag);
                    elf[aux + 4] = (byte)flags;
                    elf[aux + 5] = (byte)(flags >> 8);
                    marked++;
                }
                aux += BitConverter.ToInt32(elf, aux + 12);
            }
            int next = BitConverter.ToInt32(elf, need + 12);
            if (next == 0)
                return marked;
            need += next;
        }
    }
}
