
  -- A seal that writes has the turn alone already.
  IF APPLOCK_MODE(N'public', N'{resource}', N'Session') <> N'Exclusive'
  BEGIN
    DECLARE @epoch_got int;
    EXEC @epoch_got = sp_getapplock @Resource = N'{resource}', @LockMode = N'Shared', @LockOwner = N'Transaction';
    IF @epoch_got < 0 THROW 50000, N'epoch: locked by a commit of this table', 1;
  END;
