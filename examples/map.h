// map.h - files in memory, without copying them where the system can map them (POSIX, Windows); read once elsewhere.
//
//     map_file file;  char wrong[300];
//     if (map_open(&file, "model.gguf", wrong)) ... file.bytes, file.count ...;  else puts(wrong);
//     map_close(&file);
//
// A folder gives its files by name and keeps them: it is the callback of an fr_pretrained_source. Include after forkreason.h, and
// with _POSIX_C_SOURCE 200809L defined before everything on POSIX.
#ifndef MAP_H
#define MAP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>
#elif defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

enum { MAP_FILES = 160, MAP_WRONG = 300 };
typedef struct map_file {
  const char *bytes;  // never NULL when it is open
  fr_int count;
  int absent;         // it could not be opened because there is none
  void *mapped, *owned;
} map_file;

static inline int map_failed(map_file *file, const char *path, const char *what, char wrong[MAP_WRONG])
{
  file->absent = errno == ENOENT || errno == ENOTDIR;
  snprintf(wrong, MAP_WRONG, "%.200s cannot be %s%s%s", path, what, errno ? ": " : "", errno ? strerror(errno) : "");
  return 0;
}

static inline int map_open(map_file *file, const char *path, char wrong[MAP_WRONG])
{
  memset(file, 0, sizeof *file);
  errno = 0;
#if defined(_WIN32)
  {
    const HANDLE handle = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    HANDLE mapping;
    LARGE_INTEGER size;
    const DWORD error = GetLastError();
    if (handle == INVALID_HANDLE_VALUE) {
      errno = error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND ? ENOENT : EACCES;
      return map_failed(file, path, "opened", wrong);
    }
    if (!GetFileSizeEx(handle, &size)) size.QuadPart = -1;
    file->count = (fr_int)size.QuadPart;
    mapping = size.QuadPart > 0 ? CreateFileMappingA(handle, NULL, PAGE_READONLY, 0, 0, NULL) : NULL;
    if (mapping) file->mapped = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    if (mapping) CloseHandle(mapping);
    CloseHandle(handle);
    if (!file->mapped && size.QuadPart != 0) return map_failed(file, path, "mapped", wrong);
  }
#elif defined(__unix__) || defined(__APPLE__)
  {
    struct stat found;
    const int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) return map_failed(file, path, "opened", wrong);
    if (fstat(descriptor, &found) || !S_ISREG(found.st_mode)) {
      close(descriptor);
      errno = errno ? errno : S_ISDIR(found.st_mode) ? EISDIR : EINVAL;
      return map_failed(file, path, "read as a file", wrong);
    }
    file->count = (fr_int)found.st_size;
    if (file->count) file->mapped = mmap(NULL, (size_t)file->count, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    if (file->mapped == MAP_FAILED) { file->mapped = NULL; return map_failed(file, path, "mapped", wrong); }
  }
#else
  {
    FILE *in = fopen(path, "rb");
    long size = -1;
    if (!in) return map_failed(file, path, "opened", wrong);
    if (!fseek(in, 0, SEEK_END)) size = ftell(in);
    file->count = size;
    file->owned = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (!file->owned || fseek(in, 0, SEEK_SET) || fread(file->owned, 1, (size_t)size, in) != (size_t)size) {
      fclose(in);
      free(file->owned);
      return map_failed(file, path, "read", wrong);
    }
    fclose(in);
    file->mapped = file->owned;
  }
#endif
  file->bytes = file->mapped ? (const char *)file->mapped : "";
  return 1;
}

static inline void map_close(map_file *file)
{
  if (file->owned) free(file->owned);
#if defined(_WIN32)
  else if (file->mapped) UnmapViewOfFile(file->mapped);
#elif defined(__unix__) || defined(__APPLE__)
  else if (file->mapped) munmap(file->mapped, (size_t)file->count);
#endif
  memset(file, 0, sizeof *file);
}

// ---- a folder; a file that is there but cannot be opened is an error, which `wrong` keeps
typedef struct map_folder {
  char path[700], wrong[MAP_WRONG];
  char name[MAP_FILES][130];
  map_file file[MAP_FILES];
  int count;
} map_folder;

static inline int map_folder_open(void *user, const char *name, fr_text *text)
{
  map_folder *folder = (map_folder *)user;
  char path[900], wrong[MAP_WRONG];
  int i = 0;
  while (i < folder->count && strcmp(folder->name[i], name)) i++;
  if (i == folder->count) {
    if (i == MAP_FILES || strlen(name) >= sizeof folder->name[0] || !*name || strpbrk(name, "/\\:") || !strcmp(name, "..")) {
      if (!folder->wrong[0]) snprintf(folder->wrong, MAP_WRONG, "%.120s: %s", name, i == MAP_FILES ? "too many files" : "not a name of a file in the folder");
      return 0;
    }
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    if (!map_open(&folder->file[i], path, wrong) && !folder->file[i].absent && !folder->wrong[0]) memcpy(folder->wrong, wrong, sizeof wrong);
    memcpy(folder->name[i], name, strlen(name) + 1);
    folder->count++;
  }
  text->bytes = folder->file[i].bytes;
  text->count = folder->file[i].count;
  return text->bytes != NULL;
}

static inline void map_folder_close(map_folder *folder)
{
  for (int i = 0; i < folder->count; i++) map_close(&folder->file[i]);
  folder->count = 0;
}

#endif
